"""The losses of 20 steps are those of trl's SFTTrainer, on the same rows in the same order and precision."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt4_instruct.training.recipes import SFTRecipe
from tests.smollm2 import installed
from tests.tiny import needs_training, rows, tiny_model

pytestmark = [needs_training, pytest.mark.skipif(not installed("trl"), reason="pip install trl")]
STEPS = 20


def ours(folder: Path, out: Path, precision: str, packing: int | None) -> list[float]:
    from gpt4_instruct.training.sft import run_sft

    plan = SFTRecipe(
        model=str(folder),
        max_length=200,
        epochs=50,
        max_steps=STEPS,
        learning_rate=3e-3,
        batch_size=8,
        device_batch=4,
        precision=precision,
        held_out=0.0,
        packing=packing,
    )
    log = run_sft(rows(60), out, plan=plan).facts["log"]
    return [each["loss"] for each in log if "loss" in each]


def theirs(folder: Path, out: Path, precision: str, packing: int | None) -> list[float]:
    """trl's own way: it tokenizes, masks and packs by itself, but for the order of packs, which is ours."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from gpt4_instruct import as_view
    from gpt4_instruct.training.batches import pack
    from gpt4_instruct.training.tokens import encode

    tokenizer = AutoTokenizer.from_pretrained(folder)
    data = as_view(Dataset.from_list(rows(60)), "prompt_completion")
    options = {"max_length": 200, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    if packing:
        packs = pack(encode(Dataset.from_list(rows(60)), tokenizer, 200), packing)
        data = packs.rename_column("lengths", "seq_lengths").remove_columns("length")
        each = 60 / len(packs)
        options = {
            "padding_free": True,
            "max_length": None,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": round(8 / each),
            "dataset_kwargs": {"skip_prepare_dataset": True},
        }
    trainer = SFTTrainer(
        model=str(folder),
        args=SFTConfig(
            output_dir=str(out),
            max_steps=STEPS,
            learning_rate=3e-3,
            lr_scheduler_type="cosine",
            warmup_steps=0.03,
            weight_decay=0.0,
            bf16=precision == "bf16",
            use_cpu=True,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            seed=42,
            model_init_kwargs={"dtype": "float32"},
            **options,
        ),
        train_dataset=data,
        processing_class=tokenizer,
    )
    trainer.train()
    return [each["loss"] for each in trainer.state.log_history if "loss" in each]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("packing", [None, 400], ids=["rows", "packed"])
def test_losses_equal_trls(tmp_path, precision, packing):
    folder = tiny_model(tmp_path / "base")
    mine = ours(folder, tmp_path / "ours", precision, packing)
    other = theirs(folder, tmp_path / "theirs", precision, packing)
    assert len(mine) == len(other) == STEPS
    assert mine == pytest.approx(other, abs=1e-3)
    assert mine[0] - mine[-1] > 0.3, "nothing was learnt, so nothing was compared"
