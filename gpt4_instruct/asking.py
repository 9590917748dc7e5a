"""Models that write answers, and the form in which each wants to be asked: Alpaca's, or that of a chat.

A chat template writes special tokens such as ``</s>`` between messages. Where a message itself holds such letters, they
are no end of text but letters, and `plain` and `literal` keep the two apart.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.models import FORMS, find_model, quiet, smollm2_folder, smollm2_identity
from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.storage import read_json

__all__ = ["PLAIN", "Form", "find_writer", "form_of", "literal", "literal_text", "plain", "prompt_ids"]

Form = Literal["alpaca", "chat"]

# Characters that Unicode keeps out of every text.
PLAIN = "\ufdd0"  # stands inside what looks like a special token and is none
_REAL = "\ufdd1"  # stands before one that is


def find_writer(model: str, forms: str = FORMS) -> tuple[Path, str, str]:
    """Where the files of a model that writes text are, its public name and its exact identity.

    Args:
        model: ``"smollm2"``, a folder or GGUF file, or a Hub id ``ORG/NAME``, ``ORG/NAME@REVISION``.
        forms: how a model may be named, for the error.

    Raises:
        UsageError: there is no such model, or it is one that gives scores.
    """
    if model == "smollm2":
        return smollm2_folder(), "SmolLM2-135M-Instruct", smollm2_identity()
    path, name, identity = find_model(model, forms)
    config = path / "config.json"
    try:
        kinds = read_json(config).get("architectures") if config.is_file() else None
    except (OutputError, AttributeError) as error:
        raise UsageError(f"{model} is no model that can be read: its config.json is broken") from error
    if any(str(kind).endswith("ForSequenceClassification") for kind in kinds or ()):
        # transformers would load it all the same, with random weights where it writes.
        raise UsageError(f"{model} is a reward model, which scores answers and writes none: name the model that writes")
    return path, name, identity


def form_of(path: Path) -> Form:
    """How a model is to be asked.

    ``"alpaca"`` where its chat template leaves a rendered Alpaca prompt as it is, as that of a model tuned here does,
    and where it has none; else ``"chat"``: its template writes something around each message.

    Args:
        path: the model's folder or GGUF file.

    Raises:
        UsageError: it has no tokenizer that can be read.
    """
    from transformers import AutoTokenizer

    folder, gguf = (path.parent, {"gguf_file": path.name}) if path.suffix == ".gguf" else (path, {})
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, **gguf)
    except Exception as error:  # every library below raises its own
        line = str(error).strip().split("\n")[0][:300]
        raise UsageError(f"{path} has no tokenizer that can be read: {line or type(error).__name__}") from error
    return "alpaca" if not tokenizer.chat_template or _leaves_alpaca(tokenizer) else "chat"


def _leaves_alpaca(tokenizer: Any) -> bool:
    prompt = render_alpaca("Add.", "1 2")
    asked = [{"role": "user", "content": prompt}]
    try:
        text: str = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    except Exception:  # Jinja's, or whatever a template raises
        return False
    # Before the first word a template may write the space that the tokenizer would read there (`use_template`).
    return text.removeprefix(tokenizer.bos_token or "").removeprefix(" ") == prompt


# --- special tokens, and letters that look like them ----------------------------------------------------------------


def prompt_ids(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """The token ids that a model with a chat template is asked in, up to where its answer begins.

    Args:
        tokenizer: of transformers, with a chat template.
        messages: each with ``role`` and ``content``.

    Raises:
        Exception: whatever the template raises.
    """
    marked = [{**each, "content": plain(tokenizer, each["content"])} for each in messages]
    text = tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True)
    if PLAIN not in text:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    other, ids = literal(tokenizer)
    text = literal_text(tokenizer, text)
    found = other(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [ids.get(each, each) for each in found]


def plain(tokenizer: Any, text: str) -> str:
    """A text with `PLAIN` in each string that would be read as a special token; most texts have none.

    A tokenizer in Python ("slow") cannot tell the two apart, and gets its text as it is.
    """
    if PLAIN in text or _REAL in text:
        text = text.replace(PLAIN, "").replace(_REAL, "")
    specials = _specials(tokenizer, len(tokenizer))
    while specials is not None and specials.search(text):  # again, for what a longer one hid
        text = specials.sub(lambda found: found[0][0] + PLAIN + found[0][1:], text)
    return text


def literal_text(tokenizer: Any, text: str) -> str:
    """A text of a template and of messages that went through `plain`, as the tokenizer of `literal` reads it."""
    specials = _specials(tokenizer, len(tokenizer))
    if specials is not None:
        text = specials.sub(lambda found: _REAL + found[0], text)
    return text.replace(PLAIN, "")


@lru_cache(maxsize=4)
def _specials(tokenizer: Any, size: int) -> re.Pattern[str] | None:
    """What finds a tokenizer's special tokens in a text, the longest first; `size` changes where one is added."""
    found = [str(each) for each in tokenizer.added_tokens_decoder.values() if each.special] if tokenizer.is_fast else []
    # One of a single letter has no inside; there is none in practice.
    found = sorted((re.escape(each) for each in found if len(each) > 1), key=len, reverse=True)
    return re.compile("|".join(found)) if found else None


def literal(tokenizer: Any) -> tuple[Any, dict[int, int]]:
    """A tokenizer like the given one, to be called with ``split_special_tokens=True``, and the ids to change.

    It reads `literal_text`: what a template wrote is a special token, whose id stands in the dictionary by the one that
    is found; all else is letters.
    """
    return _literal(tokenizer, len(tokenizer))


@lru_cache(maxsize=4)
def _literal(tokenizer: Any, size: int) -> tuple[Any, dict[int, int]]:
    from transformers import AddedToken

    other, ids = copy.deepcopy(tokenizer), {}
    for token, special in tokenizer.added_tokens_decoder.items():
        if not special.special:
            continue
        name = _REAL + str(special)
        how = {each: getattr(special, each) for each in ("lstrip", "rstrip", "single_word")}
        # Not special, so that it is found where special tokens are read as letters.
        other.add_tokens([AddedToken(name, normalized=False, special=False, **how)])
        ids[other.convert_tokens_to_ids(name)] = token
    return other, ids
