"""The options of a split, as `datasets` keeps them: the same names as the command line's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import datasets

from gpt4_instruct.errors import UsageError

__all__ = ["DEFAULT_TEACHER", "TRUNCATION", "SplitConfig"]

DEFAULT_TEACHER = "local:smollm2"
_MOST = 1e15
TRUNCATION = ("reject", "keep", "extend")


@dataclass
class SplitConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """What a split is built from. The same names as the command line's options.

    Attributes:
        source: ``"seeds"``, a file's path, ``"hub:ID"``, ``"released"`` (the split's released file),
            ``"released:NAME"``, or a `Source`.
        teacher: who answers; by default ``"local:smollm2"``, but of the source ``"released"`` the rows are as released.
        translator: who translates (Chinese); by default the teacher.
        answers_from: who answers (Comparison), at least two; a teacher named twice gives two samples. By default the
            teacher, twice.
        scorer: who scores (Comparison); by default the teacher.
        limit: most rows to read from the source; none for all.
        ledger: the ledger's path; by default `generation.ledger.default_path()`.
        seed: sent with every request when given.
        max_tokens: most tokens in an answer.
        temperature: 0 is greedy.
        top_p: nucleus mass.
        concurrency: requests in flight per teacher; by default each teacher's own number.
        strict: stop at the first row of the source that cannot be used, instead of rejecting it.
        accept: go on until so many rows are accepted, or the source is dry; none for all rows.
        on_truncation: what happens where an answer is cut off at `max_tokens`: ``"reject"`` the row, ``"keep"`` it, or
            ``"extend"``: ask again with four times the room.
        requests_per_minute: most requests to each model that answers at once; by default what the endpoint allows.
        tokens_per_minute: likewise, prompt and answer.
        language: which language the rows are in (Self-Instruct): ``"en"``, ``"zh"`` or ``"both"``, for pairs.
        recipe: how tasks are invented (Self-Instruct), a name in `self_instruct_recipes.RECIPES`.
        budget_usd: the most this run may spend, on batches of earlier runs that come in, too; none for no cap.
        prices: a price file laid over the packaged one.
        engine: who has the work done: ``"local"``, ``"ray"`` or ``"ray:ADDRESS"``.
    """

    source: Any = "seeds"
    teacher: Any = None
    translator: Any = None
    answers_from: Any = ()
    scorer: Any = None
    limit: int | None = None
    ledger: Any = None
    seed: int | None = None
    max_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    concurrency: int | None = None
    strict: bool = False
    accept: int | None = None
    on_truncation: str = "reject"
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    budget_usd: float | None = None
    prices: Any = None
    language: str | None = None
    recipe: str | None = None
    engine: str = "local"

    @property
    def as_released(self) -> bool:
        """Whether the rows are taken as they were released: no teacher of any role is named."""
        roles = (self.teacher, self.translator, self.answers_from, self.scorer)
        return self.source == "released" and not any(roles)

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        """The name under which `datasets` caches a build: all that changes the rows, content rather than paths."""
        return f"{self.name}-{self.identity_hash}"

    identity_hash: str = ""  # set by the split, which knows its stages

    def check(self, options: frozenset[str]) -> None:
        """Finds what cannot work before anything is opened.

        Args:
            options: which of `translator`, `answers_from`, `scorer`, `language` and `recipe` the split uses.

        Raises:
            UsageError: a value is out of its range, or the split has no use for it.
        """
        for name in ("translator", "answers_from", "scorer", "language", "recipe"):
            if getattr(self, name) and name not in options:
                raise UsageError(f"the {self.name} split has no use for {name} (--{name.replace('_', '-')})")
        if self.as_released and self.accept is not None:
            raise UsageError("the released rows are all accepted as they are: limit (--limit) takes the first ones")
        for name in ("limit", "accept", "max_tokens", "concurrency", "seed"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                raise UsageError(f"{name} is {value!r}, but must be a whole number")
        for name in ("temperature", "top_p", "requests_per_minute", "tokens_per_minute", "budget_usd"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
                raise UsageError(f"{name} is {value!r}, but must be a number")
        for name in ("limit", "accept", "max_tokens", "concurrency", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and not 1 <= value < _MOST:
                raise UsageError(f"{name} is {value}, but must be at least 1 and under {_MOST:.0e}")
        if self.budget_usd is not None and not 0 < self.budget_usd < float("inf"):
            raise UsageError(f"budget_usd is {self.budget_usd}, but must be a number of dollars over 0")
        if self.on_truncation not in TRUNCATION:
            raise UsageError(f"on_truncation is {self.on_truncation!r}, but must be one of {', '.join(TRUNCATION)}")
        if not 0 <= self.temperature <= 2:
            raise UsageError(f"temperature is {self.temperature}, but must be from 0 to 2")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is {self.top_p}, but must be over 0 and up to 1")
