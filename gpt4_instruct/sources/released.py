"""The released files: where they are, at which commit, and their content's hash. Downloaded once, offline afterwards.

Source of the table: the repositories of "Instruction Tuning with GPT-4" (arXiv 2304.03277), of Stanford Alpaca, of
Unnatural Instructions, and of FastChat and Self-Instruct, whose questions the paper compares models on, at the commits
named. They are kept as the Hub's client keeps its files::

    ~/.gpt4_instruct/released/OWNER--NAME/snapshots/COMMIT/data/alpaca_gpt4_data.json
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gpt4_instruct.downloads import blob_id, download
from gpt4_instruct.errors import SourceError, UnknownNameError
from gpt4_instruct.records import Language
from gpt4_instruct.sources.files import FileSource
from gpt4_instruct.storage import home

__all__ = ["RELEASED", "Released", "ReleasedSource", "fetch"]

_BASE_URL = "https://raw.githubusercontent.com"
_GPT4_LLM = ("Instruction-Tuning-with-GPT-4/GPT-4-LLM", "80cda626ea305004be42426671c66efebbf22144")
_ALPACA = ("tatsu-lab/stanford_alpaca", "761dc5bfbdeeffa89b8bff5d038781a4055f796a")
_FASTCHAT = ("lm-sys/FastChat", "31a1b9000b2ad6e27616f80319114705513972bb")
_SELF_INSTRUCT = ("yizhongw/self-instruct", "0b26ccaa415992100fa32df62d41b994cf928e23")
_UNNATURAL = ("orhonovich/unnatural-instructions", "22a41c945a8b0f88d8254def75d574c53f1221be")


@dataclass(frozen=True, slots=True)
class Released:
    """A released file.

    Attributes:
        repository: on GitHub, as ``OWNER/NAME``.
        commit: the commit it is taken from.
        path: where it lies there.
        blob: the git blob id of its content.
        model: who answered, where one model did.
        language: of the answers.
        licence: its repository's; none where that names none for data.
    """

    repository: str
    commit: str
    path: str
    blob: str
    model: str | None = None
    language: Language = "en"
    licence: str | None = "cc-by-nc-4.0"

    @property
    def file_name(self) -> str:
        """The file's name without its folder."""
        return PurePosixPath(self.path).name


RELEASED: dict[str, Released] = {
    "english": Released(*_GPT4_LLM, "data/alpaca_gpt4_data.json", "25508714b7879a1e5a6764ba7f979a980f549f1a", "gpt-4"),
    "chinese": Released(
        *_GPT4_LLM, "data/alpaca_gpt4_data_zh.json", "af092742e9bc3b83fa6feb13203b793aafc9dffc", "gpt-4", "zh"
    ),
    "comparison": Released(*_GPT4_LLM, "data/comparison_data_v2.json", "decb04ca4c911d821a67364dfe058c4d383f241e"),
    "unnatural": Released(
        *_GPT4_LLM, "data/unnatural_instruction_gpt4_data.json", "b2ff691552defddbbe5ca4a1be792c26f852d917", "gpt-4"
    ),
    "alpaca": Released(*_ALPACA, "alpaca_data.json", "3779ddbc040543ab1834ef216c983d6fcc06cc9a", "text-davinci-003"),
    "unnatural-core": Released(
        *_UNNATURAL, "data/core_data.zip", "037b95e773c5d050d025b1d012180c42fa63d13f", licence=None
    ),
    "vicuna80": Released(
        *_FASTCHAT,
        "fastchat/eval/table/question.jsonl",
        "c946b8f79deba324a88ab0d61a322942b19fa764",
        licence="apache-2.0",
    ),
    "user252": Released(
        *_SELF_INSTRUCT,
        "human_eval/user_oriented_instructions.jsonl",
        "ed6d5d986e3f4c65ff64d70328a2e1dab146f914",
        licence="apache-2.0",
    ),
}


def fetch(name: str) -> Path:
    """A released file on this computer, its content verified; downloaded at the first call, offline afterwards.

    Args:
        name: ``"english"``, ``"chinese"``, ``"comparison"``, ``"unnatural"``, ``"alpaca"``, ``"unnatural-core"``, or
            the questions ``"vicuna80"`` and ``"user252"``.

    Environment:
        GPT4_INSTRUCT_RELEASED_DIR: a folder that holds such files already, under their own names.
        GPT4_INSTRUCT_RELEASED_URL: a mirror, laid out as ``URL/OWNER/NAME/COMMIT/PATH``.
        GPT4_INSTRUCT_HOME: where they are kept, by default ``~/.gpt4_instruct``.

    Raises:
        UnknownNameError: no such file was released.
        SourceError: it cannot be had, or is another one.
        OutputError: it cannot be kept.
    """
    if name not in RELEASED:
        raise UnknownNameError("released file", name, list(RELEASED))
    file = RELEASED[name]
    if own := os.environ.get("GPT4_INSTRUCT_RELEASED_DIR"):
        path = Path(own).expanduser() / file.file_name
        if path.is_file():
            if (found := blob_id(path)) != file.blob:
                raise SourceError(f"{path} is not the released file: its git blob id is {found}, not {file.blob}")
            return path
    base = (os.environ.get("GPT4_INSTRUCT_RELEASED_URL") or _BASE_URL).rstrip("/")
    folder = home() / "released" / file.repository.replace("/", "--") / "snapshots" / file.commit
    try:
        return download(f"{base}/{file.repository}/{file.commit}/{file.path}", folder / file.path, file.blob)
    except SourceError as error:
        elsewhere = f"where you have {file.file_name}, GPT4_INSTRUCT_RELEASED_DIR=FOLDER takes it from there"
        raise SourceError(f"{error}; {elsewhere}") from error


class ReleasedSource(FileSource):
    """The instructions in a released file, each with the answer of the release as its label.

    A row's place is its number in the file, from 1.


    Args:
        released: which one.
    """

    lines = False

    def __init__(self, released: str) -> None:
        super().__init__(fetch(released), f"released:{released}", fingerprint=RELEASED[released].blob)
