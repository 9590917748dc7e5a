"""Tiny models for tests of training: real architectures with random weights, and a real tokenizer made on the spot.

`tiny_model(folder, "llama")` writes a folder that `from_pretrained` reads; a step of one takes milliseconds.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import gpt4_instruct
from tests.smollm2 import installed

__all__ = [
    "FAMILIES",
    "needs_training",
    "rows",
    "scored_rows",
    "sentencepiece_tokenizer",
    "tiny_model",
    "tiny_tokenizer",
]

needs_training = pytest.mark.skipif(not installed("accelerate"), reason="pip install '.[train]'")
_ENDS = {"llama": ("<s>", "</s>"), "opt": ("</s>", "</s>"), "qwen2": (None, "<|endoftext|>")}
FAMILIES = tuple(_ENDS)
_VOCABULARY = 800


def rows(count: int = 64) -> list[dict[str, str]]:
    """Short instruction rows, English and Chinese, the same each time."""
    file = Path(gpt4_instruct.__file__).parent / "sources" / "seeds.jsonl"
    seeds = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [
        {"instruction": each["instruction"], "input": each.get("input", ""), "output": each["label"]}
        for each in (seeds * (1 + count // len(seeds)))[:count]
    ]


def scored_rows(count: int = 32) -> list[dict[str, Any]]:
    """Comparison rows with three answers: the good one ends in a full stop, the worse ones in more exclamation marks."""
    return [
        {
            "user_input": each["instruction"],
            "responses_and_scores": [
                {"response": f"Answer {number}.", "source": "a", "score": 9.0},
                {"response": f"Answer {number}!", "source": "b", "score": 6.0 if number % 4 else 9.0},
                {"response": f"Answer {number}!!!", "source": "c", "score": 2.0},
            ],
        }
        for number, each in enumerate(rows(count))
    ]


@cache
def _trained() -> Any:
    """A byte-level BPE over the seeds."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=["<s>", "</s>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((" ".join(each.values()) for each in rows(160)), trainer)
    return tokenizer


def tiny_tokenizer(family: str = "llama") -> Any:
    """Begins and ends texts as the family's own tokenizer does: LLaMA with <s>, OPT with </s>, Qwen with nothing."""
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    begin, end = _ENDS[family]
    backend = Tokenizer.from_str(_trained().to_str())
    if begin:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, backend.token_to_id(begin))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=begin, eos_token=end)


def sentencepiece_tokenizer(folder: Path) -> Any:
    """As LLaMA's own is read from its folder: a space is read before a text's first word, but not behind <s>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    spelt = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=1_200, special_tokens=["<unk>", "<s>", "</s>", *spelt], show_progress=False
    )
    backend.train_from_iterator((" ".join(each.values()) for each in rows(160)), trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **named).save_pretrained(folder)
    config = {"tokenizer_class": "LlamaTokenizer", **named}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


def tiny_model(folder: Path, family: str = "llama", *, seed: int = 0, tie: bool = False) -> Path:
    """Writes a model of 50,000 to 150,000 random weights with its tokenizer, and returns the folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tiny_tokenizer(family)
    shape: dict[str, Any] = {
        "vocab_size": _VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "tie_word_embeddings": tie,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
    }
    if family == "opt":
        shape |= {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0, "pad_token_id": 0}
    else:
        shape |= {"intermediate_size": 64, "num_key_value_heads": 2}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **shape), dtype=torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
