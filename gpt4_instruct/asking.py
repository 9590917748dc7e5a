"""Models that write answers, and the form in which each wants to be asked: Alpaca's, or that of a chat."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.models import find_model, quiet, smollm2_folder, smollm2_identity
from gpt4_instruct.prompts import render_alpaca
from gpt4_instruct.storage import read_json

__all__ = ["Form", "find_writer", "form_of"]

Form = Literal["alpaca", "chat"]


def find_writer(model: str) -> tuple[Path, str, str]:
    """Where the files of a model that writes text are, its public name and its exact identity.

    Args:
        model: ``"smollm2"``, a folder or GGUF file, or a Hub id ``ORG/NAME``, ``ORG/NAME@REVISION``.

    Raises:
        UsageError: there is no such model, or it is one that gives scores.
    """
    if model == "smollm2":
        return smollm2_folder(), "SmolLM2-135M-Instruct", smollm2_identity()
    path, name, identity = find_model(model)
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
