"""What a source is: instructions that can be read as often as asked, and rejects for what cannot be used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from gpt4_instruct.records import Instruction, Reject

__all__ = ["Source"]


class Source(ABC):
    """Instructions, read lazily and as often as asked; what cannot be used comes as a `Reject` with its place.

    Attributes:
        name: as the user writes it.
        fingerprint: changes whenever the rows do.
    """

    name: str
    fingerprint: str

    @abstractmethod
    def __iter__(self) -> Iterator[Instruction | Reject]:
        """Every row, in order. Raises `SourceError` when the source can no longer be read."""

    def count(self) -> int | None:
        """How many rows there are, or none where only reading them all over a network would tell."""
        return sum(1 for _ in self)
