"""Rows laid end to end: whether a model keeps them apart is tried, not believed; and trying changes nothing."""

from __future__ import annotations

import pytest

from gpt4_instruct.training.attention import SEGMENTS, separate_rows
from gpt4_instruct.training.recipes import SFTRecipe
from gpt4_instruct.training.sft import run_sft
from tests.tiny import needs_training, rows, tiny_tokenizer

pytestmark = needs_training

SHAPE = {
    "vocab_size": 800,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
KINDS = {
    "llama": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "pad_token_id": 1},
    "qwen2": {},
    "nemotron": {},  # its layers pass nothing on to its attention
    "doge": {},  # its attention adds a mask of its own
    "roberta": {"is_decoder": True, "pad_token_id": 1},  # its positions begin behind that of the pad token
}
APART = ("llama", "opt", "qwen2")


def made(kind, *, score=False, dtype="float32"):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SHAPE, **KINDS[kind], **({"num_labels": 1} if score else {}))
    auto = AutoModelForSequenceClassification if score else AutoModelForCausalLM
    return auto.from_config(config, dtype=getattr(torch, dtype))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_what_keeps_rows_apart_is_said_to(kind, dtype):
    import torch

    model = made(kind, dtype=dtype).train()
    model.get_output_embeddings().eval()  # some parts may be kept out of training
    modes = [each.training for each in model.modules()]
    before = torch.get_rng_state()
    assert separate_rows(model, 64) == (kind in APART)
    assert torch.equal(torch.get_rng_state(), before), "what is random afterwards is as it was"
    assert [each.training for each in model.modules()] == modes
    assert all(each.grad is None for each in model.parameters())
    assert model.config._attn_implementation == (SEGMENTS if kind in APART else "sdpa")


@pytest.mark.parametrize("kind", ["llama", "opt", "nemotron"])
def test_a_head_for_scores_changes_nothing(kind):
    assert separate_rows(made(kind, score=True), 64) == (kind in APART)


def test_weights_that_are_not_here_cannot_be_tried():
    import torch

    with torch.device("meta"):
        model = made("llama")
    assert separate_rows(model, 64)
    assert model.config._attn_implementation == SEGMENTS


@pytest.mark.parametrize("kind", ["nemotron", "doge", "roberta"])
def test_the_held_out_loss_is_the_plain_models_whatever_the_batch(tmp_path, kind):
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    from gpt4_instruct.training.data import read, split
    from gpt4_instruct.training.tokens import IGNORED, encode

    model = made(kind)
    for name, each in model.named_parameters():
        if name.endswith(".A"):  # Doge's own mask, which is the same for all tokens while this is zero
            torch.nn.init.uniform_(each, 0.5, 2.0)
    model.save_pretrained(tmp_path / "base")
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "base")
    found = []
    for size in (1, 8):
        plan = SFTRecipe(
            max_length=200, max_steps=1, batch_size=8, device_batch=size, precision="fp32", held_out=0.3, warmup=0.0
        )
        facts = run_sft(rows(24), tmp_path / f"out{size}", model=str(tmp_path / "base"), plan=plan).facts
        found.append(next(each["eval_loss"] for each in facts["log"] if "eval_loss" in each))
    _, held = split(read(rows(24), scored=False).samples, 0.3, plan.seed)
    kept = [{name: getattr(each, name) for name in ("instruction", "input", "output")} for each in held]
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    total, count = 0.0, 0
    for each in encode(Dataset.from_list(kept), tokenizer, 200):
        ids, labels = torch.tensor([each["input_ids"]]), torch.tensor([each["labels"]])
        learnt = int((labels[:, 1:] != IGNORED).sum())
        with torch.no_grad():
            total += plain(input_ids=ids, labels=labels).loss.item() * learnt
        count += learnt
    assert found == pytest.approx([total / count] * 2, abs=1e-4)
