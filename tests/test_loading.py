"""Base models as they are loaded for training: whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt4_instruct.errors import UsageError
from gpt4_instruct.training.loading import find_base, load_causal, load_reward, load_tokenizer
from tests.tiny import FAMILIES, needs_training, tiny_model

pytestmark = needs_training

LOADS = {"sft": load_causal, "reward": load_reward}


def load(folder: Path, kind: str):
    base = find_base(str(folder))
    return LOADS[kind](base, load_tokenizer(base.folder))


def lose(folder: Path, part: str) -> list[str]:
    """Takes some weights out of a model's file, and returns their names."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    found = load_file(file)
    lost = sorted(name for name in found if part in name)
    save_file({name: found[name] for name in found if name not in lost}, file, metadata={"format": "pt"})
    return lost


@pytest.mark.parametrize("kind", LOADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_that_lacks_weights_is_not_tuned(tmp_path, family, kind):
    base = tiny_model(tmp_path / "base", family)
    load(base, kind)
    lost = lose(base, "layers.1.")
    assert len(lost) > 5
    with pytest.raises(UsageError, match=f"{lost[0]} and {len(lost) - 1} more weights are not in the files of base"):
        load(base, kind)


def test_a_reward_model_has_no_head_that_writes(tmp_path):
    folder = tiny_model(tmp_path / "base")
    load(folder, "reward").save_pretrained(tmp_path / "reward")
    for file in folder.glob("tokenizer*"):
        (tmp_path / "reward" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UsageError, match=r"lm_head\.weight is not in the files of reward, .* name another base"):
        load(tmp_path / "reward", "sft")
    load(tmp_path / "reward", "reward")  # its tuning goes on


@pytest.mark.parametrize("family", FAMILIES)
def test_tied_weights_are_not_missing(tmp_path, family):
    import torch

    folder = tiny_model(tmp_path / "base", family, tie=True)
    model = load(folder, "sft")
    assert torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)
    load(folder, "reward")


def test_an_encoder_that_guesses_words_may_lack_what_belongs_to_the_head(tmp_path):
    from transformers import AutoConfig, AutoModelForMaskedLM

    folder = tiny_model(tmp_path / "base")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    (folder / "model.safetensors").unlink()
    AutoModelForMaskedLM.from_config(AutoConfig.for_model("bert", vocab_size=800, **sizes)).save_pretrained(folder)
    load(folder, "reward")
    lost = lose(folder, "layer.1.attention.self.query.bias")
    with pytest.raises(UsageError, match=f"{lost[0]} is not in the files of base"):
        load(folder, "reward")


def test_a_base_may_be_named_as_a_teacher_is(tmp_path):
    folder = tiny_model(tmp_path / "base")
    assert find_base(f"local:{folder}") == find_base(str(folder))
    with pytest.raises(UsageError, match=r"no folder \./nowhere, .*: write local:smollm2, "):
        find_base("local:./nowhere")
