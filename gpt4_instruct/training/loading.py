"""A base model and its tokenizer, made fit for training: a pad token where one is needed, room for every token."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import MissingExtraError, UsageError
from gpt4_instruct.models import find_model, quiet, smollm2_folder, smollm2_identity
from gpt4_instruct.progress import first_process
from gpt4_instruct.prompts.tasks import alpaca_chat_template, render_alpaca
from gpt4_instruct.training.recipes import LoRA

__all__ = ["Base", "add_lora", "find_base", "load_causal", "load_reward", "load_tokenizer", "require", "use_template"]

_PAD = "<|pad|>"


@dataclass(frozen=True, slots=True)
class Base:
    """Where a base model is.

    Attributes:
        folder: its files.
        name: as it may be told to others: a Hub id or a folder's last part.
        identity: changes whenever its files do.
        licence: what its card says, if it has one here.
    """

    folder: Path
    name: str
    identity: str
    licence: str | None


def require(*more: str) -> None:
    """Makes sure that what training needs is installed. Raises MissingExtraError."""
    for library in ("torch", "transformers", "accelerate", *more):
        if find_spec(library) is None:
            raise MissingExtraError("training", library, "train")


def find_base(model: str | None) -> Base:
    """The base model of a name: ``"smollm2"``, a folder, or a Hub id ``ORG/NAME[@REVISION]``, maybe behind ``local:``.

    Raises:
        UsageError: there is no such model, none is named, or it is a file of another kind.
    """
    if model is None:
        raise UsageError("no base model: name one with --model")
    model = model.removeprefix("local:")
    if model == "smollm2":
        return Base(smollm2_folder(), "HuggingFaceTB/SmolLM2-135M-Instruct", smollm2_identity(), "apache-2.0")
    folder, name, identity = find_model(model)
    if folder.is_file():
        raise UsageError(f"{model} is a GGUF file, which is for running: name the model's folder or Hub id")
    return Base(folder, name, identity, _licence(folder))


def _licence(folder: Path) -> str | None:
    from huggingface_hub import ModelCard

    try:
        licence = ModelCard.load(folder / "README.md").data.get("license")
    except (OSError, ValueError, AttributeError):
        return None
    return licence if isinstance(licence, str) else None


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder.

    Raises:
        UsageError: it has none, or none that can be read.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # every library below raises its own
        raise UsageError(f"{folder} has no tokenizer that can be read: {_line(error)}") from error


def load_causal(base: Base, tokenizer: Any, *, frozen: bool = False) -> Any:
    """A causal language model for tuning.

    Args:
        base: which.
        tokenizer: its tokenizer; the model gets an embedding for every token of it.
        frozen: keep the checkpoint's own precision, for the weights will not change (LoRA). Else they are float32: an
            update of 2e-5 is lost in a bfloat16 weight, which has three digits.

    Raises:
        UsageError: the folder holds no causal language model, or only a part of its weights.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoConfig, AutoModelForCausalLM

    config = _load(AutoConfig, base)
    # These load as causal models, too, and would learn to copy the next token, which they see.
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not (
        getattr(config, "is_decoder", False) or getattr(config, "causal", False)
    ):
        raise UsageError(
            f"{base.name} is an encoder ({config.model_type}), which sees the tokens it is to predict: name a causal "
            "language model with --model"
        )
    model = _load_whole(AutoModelForCausalLM, base, dtype="auto" if frozen else "float32")
    _fit_embeddings(model, tokenizer)
    model.config.use_cache = False
    return model


def load_reward(base: Base, tokenizer: Any, *, frozen: bool = False) -> Any:
    """A model with a scalar head, and a pad token that no text ends with.

    A sequence classifier reads the last token that is no padding; where padding and end of text are the same token, it
    reads the one before the end, and in a batch another one than alone. So the tokenizer gets a pad token of its own.

    Raises:
        UsageError: the folder holds no model that can score texts, or only a part of its weights.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig, AutoModelForSequenceClassification

    config = _load(AutoConfig, base)
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING or config.is_encoder_decoder:
        raise UsageError(
            f"{base.name} is a {config.model_type} model, for which transformers has no head that scores a text: name "
            "another base with --model"
        )
    scoring = {"dtype": "auto" if frozen else "float32", "num_labels": 1}
    model = _load_whole(AutoModelForSequenceClassification, base, new_head=True, **scoring)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.add_special_tokens({"pad_token": _PAD})
    _fit_embeddings(model, tokenizer)
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.use_cache = False
    return model


def _load(kind: Any, base: Base, **options: Any) -> Any:
    try:
        with quiet():
            return kind.from_pretrained(base.folder, **options)
    except Exception as error:  # every library below raises its own
        raise UsageError(f"{base.name} cannot be loaded for training: {_line(error)}") from error


def _load_whole(kind: Any, base: Base, *, new_head: bool = False, **options: Any) -> Any:
    """A model all of whose weights are in its files; with `new_head`, all but those of the head that scores.

    Without a word, transformers makes up what is missing. (Tied weights are not missing.)
    """
    model, found = _load(kind, base, output_loading_info=True, **options)
    missing = sorted(found["missing_keys"])
    if new_head:
        # A pooler belongs to the head, though some architectures keep it in the body.
        body = f"{model.base_model_prefix}."
        missing = [name for name in missing if name.startswith(body) and ".pooler." not in name]
    if missing:
        more = f" and {len(missing) - 1} more weights are" if len(missing) > 1 else " is"
        raise UsageError(
            f"{missing[0]}{more} not in the files of {base.name}, which is not a whole {type(model).__name__}: name "
            "another base with --model"
        )
    return model


def _fit_embeddings(model: Any, tokenizer: Any) -> None:
    """Makes room for tokens that were added; rows that are there beyond the vocabulary stay."""
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=8)


def add_lora(model: Any, lora: LoRA, *, reward: bool = False) -> Any:
    """The model with low-rank adapters on every linear layer but the head, the only weights that will change."""
    require("peft")
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="SEQ_CLS" if reward else "CAUSAL_LM",
    )
    return get_peft_model(model, config)


def use_template(tokenizer: Any, template: str) -> None:
    """Gives a tokenizer the chat template that a model was tuned with, and what generating in batches needs.

    Where no template can ask in the very tokens that were learnt, the nearest one is taken, and that is said: a model
    that is trained already is not lost for it.
    """
    if template == "alpaca":
        first = tokenizer("")["input_ids"][:1]
        begins = tokenizer.bos_token_id is not None and first == [tokenizer.bos_token_id]
        begin = tokenizer.bos_token if begins else ""
        fitting = [space for space in ("", " ") if _asks_as_learnt(tokenizer, begin + space)]
        if not fitting and first_process():
            print(
                "the tokenizer reads the chat template otherwise than the text that was learnt, so a server asks in "
                "slightly other tokens",
                file=sys.stderr,
            )
        tokenizer.chat_template = alpaca_chat_template(begins=begins, space=fitting[:1] == [" "])
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # whoever generates masks it


def _asks_as_learnt(tokenizer: Any, begin: str) -> bool:
    """Whether prompts that a template begins with `begin` have the ids that they have in training."""
    prompts = [
        render_alpaca(*task) for task in (("Say hi.",), ("Add.", "1 2"), ("写诗。",), ("改错。", "他们是学生们。"))
    ]
    for prompt in prompts:
        learnt = tokenizer(prompt)["input_ids"]
        if learnt and learnt[-1] == tokenizer.eos_token_id:  # a tokenizer that ends every text
            learnt = learnt[:-1]
        if tokenizer(begin + prompt, add_special_tokens=False)["input_ids"] != learnt:
            return False
    return True


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300] or type(error).__name__
