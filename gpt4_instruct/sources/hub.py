"""A source on the Hugging Face Hub: ``hub:ID``, ``hub:ID@REVISION``, ``hub:ID:CONFIG``; streams its ``train`` split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt4_instruct.errors import SourceError
from gpt4_instruct.records import Instruction, Reject
from gpt4_instruct.sources.base import Source
from gpt4_instruct.sources.shapes import adapt
from gpt4_instruct.storage import sha256

if TYPE_CHECKING:
    from datasets import IterableDataset

__all__ = ["HubSource"]


class HubSource(Source):
    """A dataset on the Hub, or in a folder shaped like one, of any shape in `shapes`.

    The revision is pinned to a commit when the source is opened, so that the rows cannot change under a build.

    Args:
        id: ``ORG/NAME`` or a folder's path, then ``@REVISION`` and ``:CONFIG`` where wanted.

    Raises:
        SourceError: there is no such dataset, or it cannot be reached.
    """

    def __init__(self, id: str) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

        self.name = f"hub:{id}"
        path, _, config = id.partition(":")
        self._config = config or None
        self._id, _, revision = path.partition("@")
        folder = Path(self._id).expanduser()
        if folder.is_dir():
            self._id = str(folder)
            files = sorted(each for each in folder.rglob("*") if each.is_file())
            self._revision = None
            self.fingerprint = " ".join(sha256(each) for each in files)
            return
        try:
            found = HfApi().dataset_info(self._id, revision=revision or None)
        except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise SourceError(f"the Hub dataset {id!r} cannot be had: {why}") from error
        except Exception as error:  # the Hub client's own transport errors share no base with the above
            raise SourceError(f"the Hub cannot be reached for {id!r}: {type(error).__name__}") from error
        self._revision = found.sha
        self.fingerprint = f"{self._id}@{found.sha}"

    @property
    def stem(self) -> str:
        """The dataset's own name, which rows without an id are called by."""
        return self._id.rstrip("/").rsplit("/", 1)[-1]

    def _stream(self) -> IterableDataset:
        from datasets import load_dataset

        try:
            splits = load_dataset(self._id, self._config, revision=self._revision, streaming=True)
        except Exception as error:
            raise SourceError(f"{self.name} cannot be read as a dataset: {' '.join(str(error).split())[:300]}")
        if "train" in splits:
            return splits["train"]
        return next(iter(splits.values()))

    def raw(self) -> Iterator[tuple[int, Any]]:
        """Each row as it is, with its number from 1. Raises `SourceError` where it cannot be read on."""
        number = 0
        try:
            for number, row in enumerate(self._stream(), start=1):
                yield number, row
        except (OSError, ValueError, RuntimeError) as error:  # a network that fails, a file that is not what it says
            why = " ".join(str(error).split())[:300]
            raise SourceError(f"{self.name} cannot be read past row {number}: {why}") from error

    def __iter__(self) -> Iterator[Instruction | Reject]:
        for number, row in self.raw():
            yield from adapt(row, f"{self.stem}-{number}", f"{self.name}:{number}")

    def count(self) -> int | None:
        """The number of rows that the dataset states, if it does."""
        stream = self._stream()
        stated = (stream.info.splits or {}).get("train")
        return stated.num_examples if stated is not None else None
