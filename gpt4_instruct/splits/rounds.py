"""The rounds in which tasks are invented: what is asked, what of the replies is kept, and when there is nothing new.

    compose ──Asked──▶ (the teacher) ──▶ read ──Row or Reject──▶ (an input, a translation) ──▶ keep ──▶ finish

Everything here follows from the seeds, the recipe and the replies, taken in the order of the requests: not from when a
reply came, nor from how many rows are wanted. All requests of a round are composed from what was kept before it.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpt4_instruct.languages import chinese_share
from gpt4_instruct.prompts.self_instruct import Example, render_tasks
from gpt4_instruct.prompts.self_instruct_classics import render_listed, render_numbered
from gpt4_instruct.prompts.self_instruct_replies import Draft, read_listed, read_numbered, read_tasks
from gpt4_instruct.quality.base import Sample, first_failure
from gpt4_instruct.quality.novelty import NoveltyIndex
from gpt4_instruct.quality.texts import excerpt
from gpt4_instruct.records import Answer, Instruction, Language, Reject, Row
from gpt4_instruct.splits.self_instruct_recipes import DRY_ROUNDS, DRY_SHARE, Recipe
from gpt4_instruct.splits.steering import Steering, kinds_of

__all__ = ["Asked", "Rounds", "Task"]

_STAGE = "invent"
# Below this share of Han characters among its words an instruction is not Chinese, above the complement not English.
_LEAST_SHARE = 0.3
# Where more tasks than these are kept, the nearest earlier task is looked for by one in `_ONE_IN` of the new ones only.
_FEW_KEPT = 2_000
_ONE_IN = 8
_NOT_NEW = frozenset({"similar", "copied_example"})
_REASONS = 3  # that are named where a run ends


@dataclass(frozen=True, slots=True)
class Asked(Instruction):
    """A request for tasks; its ``instruction`` is the prompt.

    Attributes:
        language: of the tasks.
        round: counted from 1.
        sample: how often this very prompt was asked before in this run.
        examples: the instructions shown in it, as `_plain`.
        topic: by its English name; empty where the recipe has none.
    """

    language: Language = "en"
    round: int = 0
    sample: int = 0
    examples: frozenset[str] = frozenset()
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Task(Instruction):
    """A task that a teacher invented. In a pair, ``instruction`` is English and ``chinese`` holds the Chinese.

    Attributes:
        language: in which it was invented.
        round: in which it was invented.
        topic: that was asked for, by its English name.
        needs_input: whether it says that it works on an input.
        labels: the classes that it sorts into.
        chosen: the class that its input is to be of.
        output: the answer that it came with.
        invented: the reply that it stood in.
        given: the reply that wrote its input.
    """

    language: Language = "en"
    round: int = 0
    topic: str = ""
    needs_input: bool = False
    labels: tuple[str, ...] = ()
    chosen: str | None = None
    output: str = ""
    invented: Answer | None = None
    given: Answer | None = None


class Rounds:
    """Invents tasks, round after round, and remembers what is kept.

    Args:
        recipe: how.
        languages: of the rows; of two, each task comes in both.
        seeds: the human tasks, each in every language.
        seed: of the random choices.

    Attributes:
        facts: of each finished round; see `finish`.
        invented: how many tasks are kept.
        stopped: why there are no more rounds: ``"dry"`` or ``"unreadable"``; empty while there are.
        detail: the same in a sentence.
    """

    def __init__(
        self, recipe: Recipe, languages: Sequence[Language], seeds: Sequence[Mapping[Language, Example]], seed: int
    ) -> None:
        self.recipe = recipe
        self.languages = tuple(languages)
        self.facts: list[dict[str, Any]] = []
        self.invented = 0
        self.stopped = ""
        self.detail = ""
        self._seed = seed
        self._human = {language: [each[language] for each in seeds] for language in languages}
        self._machine: dict[Language, list[Example]] = {language: [] for language in languages}
        self._indexes = {language: NoveltyIndex(recipe.threshold, language) for language in languages}
        self._names: list[str] = []  # of what is in the indexes
        for number, each in enumerate(seeds, start=1):
            self._names.append(f"seed {number}")
            for language in languages:
                self._indexes[language].add(each[language].instruction)
        self._steering = Steering(languages) if recipe.style == "structured" else None
        self._prompts: Counter[str] = Counter()
        self._invented_in: Counter[Language] = Counter()
        self._language = self.languages[0]  # of this round
        self._labels: Counter[str] = Counter()
        self._new: list[Task] = []  # of this round
        self._parsed = 0
        self._refused = 0
        self._rejected: Counter[str] = Counter()
        self._similarities: list[float] = []
        self._refusal = ""

    @property
    def round(self) -> int:
        """The number of the round that is next, or under way."""
        return len(self.facts) + 1

    # --- asking -----------------------------------------------------------------------------------------------------

    def compose(self) -> list[Row]:
        """The requests of the next round, each as the `Asked` of a row."""
        self._language = self._next_language()
        return [Row(self._compose(number)) for number in range(1, self.recipe.requests_of(self.round) + 1)]

    def _compose(self, number: int) -> Asked:
        recipe, rng = self.recipe, random.Random(f"{self._seed}-{self.round}-{number}")
        language = self._language
        machine = self._machine[language]
        shown = rng.sample(machine, min(recipe.machine, len(machine)))
        wanted = recipe.human + recipe.machine - len(shown)
        shown += rng.sample(self._human[language], min(wanted, len(self._human[language])))
        if recipe.machine:
            rng.shuffle(shown)
        topic = ""
        if self._steering is not None:
            topic, wishes = self._steering.wishes(language, rng)
            prompt = render_tasks(shown, recipe.tasks, wishes, kinds_of(language), language)
        elif recipe.style == "numbered":
            prompt = render_numbered(shown, len(shown) + recipe.tasks, language)
        else:
            prompt = render_listed(shown, recipe.tasks, language)
        sample = self._prompts[prompt]
        self._prompts[prompt] += 1
        origin = f"round {self.round}, request {number}"
        return Asked(
            id=f"round-{self.round}-{number}",
            instruction=prompt,
            origin=origin,
            language=language,
            round=self.round,
            sample=sample,
            examples=frozenset(_plain(each.instruction) for each in shown),
            topic=topic,
        )

    def _next_language(self) -> Language:
        """Of two languages, the one in which fewer tasks were invented; the other one if that has just brought nothing.

        A teacher may be unable to write in one of them: it goes on in the other, and is asked for that again.
        """
        fewer = min(self.languages, key=lambda each: self._invented_in[each])
        if self.facts and fewer == self._language and _is_barren(self.facts[-1]):
            return next((each for each in self.languages if each != fewer), fewer)
        return fewer

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(self, asked: Sequence[Row], outcomes: Sequence[Row | Reject]) -> Iterator[Row | Reject]:
        """What the replies of a round hold, in order: rows of a `Task` that passes the checks, and rejects.

        Args:
            asked: what `compose` gave.
            outcomes: for each of them a row with the answer, or why it was refused.
        """
        for row, outcome in zip(asked, outcomes, strict=True):
            request = row.instruction
            assert isinstance(request, Asked)
            if isinstance(outcome, Reject):
                self._refused += 1
                self._refusal = f"{outcome.reason}: {outcome.detail}"
                yield self._reject(replace(outcome, instruction=""))
            else:
                yield from self._read(request, outcome.answers[0])

    def _read(self, asked: Asked, answer: Answer) -> Iterator[Row | Reject]:
        cut = answer.finish_reason == "length"
        origin, id = asked.origin, asked.id
        if cut and self.recipe.whole:
            yield self._reject(Reject(id, _STAGE, "truncated", "the reply was cut off", origin, output=answer.text))
            return
        drafts = self._drafts(asked, answer.text, cut)
        self._parsed += sum(not (draft.cut or draft.flaw) for draft in drafts)
        if not drafts:
            detail = f"the reply holds no task: {excerpt(answer.text)!r}"
            yield self._reject(Reject(id, _STAGE, "unreadable", detail, origin, output=answer.text))
        read = 0
        for number, draft in enumerate(drafts, start=1):
            read += not (draft.cut or draft.flaw)
            task = self._task(asked, answer, draft, number)
            failure = self._failure(asked, draft, task, read)
            yield self._reject(_rejected(task, *failure)) if failure else Row(task)

    def _drafts(self, asked: Asked, text: str, cut: bool) -> list[Draft]:
        if self.recipe.style == "structured":
            return read_tasks(text, cut=cut)
        if self.recipe.style == "numbered":
            return read_numbered(text, cut=cut)
        found = read_listed(text, first=len(asked.examples) + 1, cut=cut, paragraphs=False)
        return [replace(draft, instruction=_capital(draft.instruction)) for draft in found]

    def _task(self, asked: Asked, answer: Answer, draft: Draft, number: int) -> Task:
        kind = draft.kind if draft.kind in kinds_of("en") else ""
        labels = draft.labels if len(draft.labels) > 1 else ()
        return Task(
            id=f"{asked.id}-{number}",
            instruction=draft.instruction,
            input=draft.input,
            origin=f"{asked.origin}, task {number}",
            kind=kind or ("classification" if labels else ""),
            language=asked.language,
            round=asked.round,
            topic=asked.topic,
            needs_input=draft.needs_input,
            labels=labels,
            output=draft.output,
            invented=answer,
        )

    def _failure(self, asked: Asked, draft: Draft, task: Task, read: int) -> tuple[str, str] | None:
        """Why a task is not even a candidate; none if it may be kept."""
        if draft.cut:
            return "truncated", "the reply ends in the middle of it"
        if draft.flaw:
            return "unreadable", draft.flaw
        if read > self.recipe.tasks:
            return "surplus", f"the reply holds more than the {self.recipe.tasks} tasks that were asked for"
        if _plain(task.instruction) in asked.examples:
            return "copied_example", "is one of the examples that it was asked with"
        share = chinese_share(task.instruction)
        if asked.language == "zh" and share is not None and share < _LEAST_SHARE:
            return "wrong_language", "is not Chinese"
        checks = self.recipe.checks
        if asked.language == "en" and "wrong_language" in checks and (share or 0) > 1 - _LEAST_SHARE:
            return "wrong_language", "is not English"
        sample = Sample(task.instruction, task.input, "", language=asked.language)
        return first_failure([check for check in checks if check != "wrong_language"], sample)

    # --- keeping ----------------------------------------------------------------------------------------------------

    def prepare(self, found: Iterator[Row | Reject]) -> Iterator[Row | Reject]:
        """The rows with the class that their input is to be of, without those that are not novel even now.

        For what must be completed, at a cost, before `keep` can decide: tasks of this round are not compared.
        """
        for outcome in found:
            if isinstance(outcome, Reject):
                yield outcome
                continue
            task = _of(outcome)
            similar = self._similar({task.language: task.instruction})
            yield self._reject(_rejected(task, "similar", similar)) if similar else self._labelled(outcome)

    def keep(self, row: Row) -> Row | Reject:
        """Keeps a row's task if it is novel in each language, beside the seeds and everything kept so far."""
        task = _of(row)
        texts = self._texts(task)
        similar = self._similar(texts)
        if similar:
            return self._reject(_rejected(task, "similar", similar))
        if self.invented < _FEW_KEPT or zlib.crc32(task.instruction.encode()) % _ONE_IN == 0:
            closest = (self._indexes[language].closest(text) for language, text in texts.items())
            self._similarities.append(max(closest))
        for language, text in texts.items():
            self._indexes[language].add(text)
            self._machine[language].append(Example(text, self._input(task, language), kind=task.kind))
        self._names.append(task.origin)
        self._new.append(task)
        self._invented_in[task.language] += 1
        self.invented += 1
        return row if task.chosen else self._labelled(row)

    def reject(self, reject: Reject) -> Reject:
        """Counts a task of this round that was rejected elsewhere, on its way to `keep`."""
        return self._reject(reject)

    def _texts(self, task: Task) -> dict[Language, str]:
        if len(self.languages) == 1:
            return {self.languages[0]: task.instruction}
        assert task.chinese is not None
        return {"en": task.instruction, "zh": task.chinese[0]}

    def _input(self, task: Task, language: Language) -> str:
        return task.chinese[1] if language == "zh" and task.chinese is not None else task.input

    def _similar(self, texts: Mapping[Language, str]) -> str:
        """What a task is too similar to; empty if it is novel."""
        for language, text in texts.items():
            nearest = self._indexes[language].nearest(text)
            if nearest is not None:
                of = "" if len(self.languages) == 1 else {"en": " in English", "zh": " in Chinese"}[language]
                return f"F1 {nearest[1]:.2f} with {self._names[nearest[0]]}{of}"
        return ""

    def _labelled(self, row: Row) -> Row:
        """The row with the least used of its task's classes, the first of them if several are."""
        task = _of(row)
        if not task.labels or task.chosen:
            return row
        chosen = min(task.labels, key=lambda label: self._labels[label.casefold()])
        self._labels[chosen.casefold()] += 1
        return replace(row, instruction=replace(task, chosen=chosen))

    def _reject(self, reject: Reject) -> Reject:
        self._rejected[reject.reason] += 1
        return reject

    # --- the end of a round -----------------------------------------------------------------------------------------

    def finish(self, prompt_tokens: int, completion_tokens: int, cost_usd: float | None) -> None:
        """Closes the round, and decides whether there is another one.

        Args:
            prompt_tokens: of the requests for tasks.
            completion_tokens: of their replies.
            cost_usd: of these; none where the price is not known.
        """
        steering, asked = self._steering, self.recipe.requests_of(self.round)
        if steering is not None:
            steering.add([(task.topic, task.kind, self._texts(task)) for task in self._new])
        similarities = self._similarities
        self.facts.append(
            {
                "round": self.round,
                "asked": asked,
                "refused": self._refused,
                "parsed": self._parsed,
                "accepted": len(self._new),
                "rejected": dict(sorted(self._rejected.items(), key=lambda each: (-each[1], each[0]))),
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "cost_usd": None if cost_usd is None else round(cost_usd, 8),
                "verbs": steering.verbs if steering else None,
                "pairs": steering.pairs if steering else None,
                "topics": len(steering.topics) if steering else 0,
                "kinds": dict(sorted(steering.kinds.items())) if steering else {},
                "similarity": round(sum(similarities) / len(similarities), 4) if similarities else None,
            }
        )
        self._decide(asked)
        self._new, self._similarities = [], []
        self._rejected.clear()
        self._parsed = self._refused = 0

    def _decide(self, asked: int) -> None:
        last = self.facts[-DRY_ROUNDS:]
        if self._refused == asked:
            self.stopped = "unreadable"
            self.detail = f"the teacher refused all {asked} requests of round {len(self.facts)} ({self._refusal})"
        elif len(last) < DRY_ROUNDS:
            return
        elif not any(each["parsed"] for each in last):
            self.stopped = "unreadable"
            replies = f"the replies of {DRY_ROUNDS} rounds one after another"
            self.detail = f"no task could be read in {replies} ({_reasons(last)[1]})"
        elif all(map(_is_barren, last)):
            self.stopped = "dry"
            kept, judged = sum(each["accepted"] for each in last), sum(map(_judged, last))
            reason, reasons = _reasons(last)
            what = "novelty has dried up" if reason in _NOT_NEW else "hardly a task is kept any more"
            self.detail = (
                f"{what}: of the {judged:,} tasks of the last {DRY_ROUNDS} rounds {kept:,} are kept, "
                f"each time fewer than {DRY_SHARE:.0%} ({reasons})"
            )


def _is_barren(facts: Mapping[str, Any]) -> bool:
    """Whether a round has brought next to nothing."""
    return not facts["accepted"] or bool(facts["accepted"] < DRY_SHARE * _judged(facts))


def _judged(facts: Mapping[str, Any]) -> int:
    """The tasks of a round, without those that nobody asked for."""
    return int(facts["parsed"] - facts["rejected"].get("surplus", 0))


def _reasons(rounds: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Why most of the tasks of some rounds were rejected, and the commonest reasons with their counts."""
    rejected = sum((Counter(each["rejected"]) for each in rounds), Counter[str]())
    del rejected["surplus"]
    ranked = sorted(rejected.items(), key=lambda each: (-each[1], each[0]))[:_REASONS]
    named = ", ".join(f"{count:,} {reason}" for reason, count in ranked)
    return (ranked[0][0], f"rejected: {named}") if ranked else ("", "nothing was rejected")


def _of(row: Row) -> Task:
    assert isinstance(row.instruction, Task)
    return row.instruction


def _plain(instruction: str) -> str:
    return " ".join(instruction.split()).rstrip(":：").casefold()


def _capital(text: str) -> str:
    """As Self-Instruct writes a task, but for the other letters, which it makes small, those of names, too."""
    return text[:1].upper() + text[1:]


def _rejected(task: Task, reason: str, detail: str) -> Reject:
    return Reject(task.id, _STAGE, reason, detail, task.origin, task.instruction, task.input, task.output)
