"""Self-Instruct: the teacher invents the tasks, round after round from a few human ones, and answers them.

The paper's future work (section 5): the loop of Self-Instruct (arXiv 2212.10560) with GPT-4 itself as the writer. The
source is the seeds; rows are invented until `accept` of them are there, or nothing new comes any more. A row::

    {"instruction": "Explain why yeast dough rises faster in a warm room.", "input": "", "output": "Yeast ...",
     "metadata": {"id": "round-3-7-12", "origin": "round 3, request 7, task 12", "kind": "open_question", ...}}

With ``language="both"`` rows come in pairs, English and Chinese, with the same ``metadata.pair``.

What is kept depends on the seeds, the recipe, the seed and the replies, and not on `accept`: a run that is to be longer
gives the same rows first, and asks only for what comes after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gpt4_instruct.errors import IncompleteError, TransientError, UsageError
from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.progress import progress
from gpt4_instruct.records import Answer, Language, Reject, Row, provenance
from gpt4_instruct.splits.base import Split
from gpt4_instruct.splits.chinese import AnswerInChinese, Translate
from gpt4_instruct.splits.costs import Costs
from gpt4_instruct.splits.english import AnswerInEnglish
from gpt4_instruct.splits.rounds import Rounds
from gpt4_instruct.splits.run import Outcome
from gpt4_instruct.splits.self_instruct_recipes import DRY_ROUNDS, find_recipe
from gpt4_instruct.splits.self_instruct_seeds import Seeds
from gpt4_instruct.splits.self_instruct_stages import (
    AnswerInBoth,
    BothLanguages,
    Classify,
    GiveInput,
    GiveInstance,
    Invent,
    OwnOutput,
    languages_of,
    task_of,
)
from gpt4_instruct.splits.stages import Stage
from gpt4_instruct.splits.steering import Steering

__all__ = ["SelfInstruct"]

_LANGUAGES: dict[str, tuple[Language, ...]] = {"en": ("en",), "zh": ("zh",), "both": ("en", "zh")}
_RECIPE = "gpt4-instruct"
_ANSWER_CHECKS = ("input_is_output", "ends_with_colon")  # of our own recipe, besides what every answer must pass


class SelfInstruct(Split):
    """The Self-Instruct split: tasks invented by the teacher, then answered by it."""

    NAME = "self_instruct"
    TITLE = "Instructions invented and answered by a teacher model"
    OPTIONS = frozenset({"translator", "language", "recipe"})

    def make_stages(self) -> list[Stage]:
        """Seeds and tasks take different ones: translate, invent; instance, translate, answer, as the recipe has it."""
        settings = self.settings
        settings.language = language = settings.language or "en"
        settings.recipe = name = settings.recipe or _RECIPE
        self.recipe = find_recipe(name)
        if language not in _LANGUAGES:
            raise UsageError(f"language is {language!r}, but must be one of {', '.join(_LANGUAGES)}")
        if settings.accept is None:
            raise UsageError("self_instruct needs to know how many rows are wanted: accept (--accept N)")
        if language == "both" and self.recipe.style != "structured":
            raise UsageError(f"the recipe {name} writes one language at a time: language (--language) en or zh")
        if language == "both" and settings.accept % 2:
            raise UsageError(f"accept is {settings.accept}, but rows come in pairs: give an even number")
        if settings.translator and language == "en":
            raise UsageError("nothing is translated where all rows are English: leave translator (--translator) out")
        self.languages = _LANGUAGES[language]
        if self.recipe.style == "structured":
            Steering(self.languages)  # says now what is not installed
        teacher, seed = self.connect(settings.teacher), settings.seed
        translator = self.connect(settings.translator or settings.teacher)
        self.invent = Invent(teacher, self.recipe, seed)
        of_seeds: dict[str, list[Stage]] = {
            "en": [],
            "zh": [Translate(translator, seed)],
            "both": [BothLanguages(translator, seed)],
        }
        self.of_seeds = of_seeds[language]
        checks = (*self.checks, *_ANSWER_CHECKS)
        self.before_keeping: list[Stage] = []
        self.of_rows: list[Stage]
        if self.recipe.style == "numbered":
            self.of_rows = [OwnOutput(self.checks)]
        elif self.recipe.style == "listed":
            self.of_rows = [Classify(teacher, seed), GiveInstance(teacher, seed, self.checks)]
        elif language == "both":
            self.before_keeping = [GiveInput(teacher, seed), BothLanguages(translator, seed)]
            self.of_rows = [AnswerInBoth(teacher, self.sampling, checks)]
        elif language == "zh":
            self.of_rows = [GiveInput(teacher, seed), AnswerInChinese(teacher, self.sampling, checks)]
        else:
            self.of_rows = [GiveInput(teacher, seed), AnswerInEnglish(teacher, self.sampling, checks=checks)]
        return [*self.of_seeds, self.invent, *self.before_keeping, *self.of_rows]

    # --- the rows ---------------------------------------------------------------------------------------------------

    def outcomes(self, engine: Engine, done: Callable[[Outcome], None]) -> Iterator[Outcome]:
        """Every reject and every row, as they come about: see the file's top."""
        costs = Costs(engine.spending.prices)
        seeds = Seeds(self.languages)
        yield from seeds.take(self._through(engine, self.of_seeds, list(seeds.begun(self.begun())), costs, "a seed"))
        seeds.check(self.source.name)
        rounds = Rounds(self.recipe, self.languages, seeds.examples, self.settings.seed or 0)
        self._facts = {"seeds": len(seeds.examples), "seeds_left_out": dict(seeds.left_out)}
        self._rounds, self._costs = rounds, costs
        assert self.settings.accept is not None
        wanted = self.settings.accept // len(self.languages)
        waiting: list[Row] = []
        barren = 0  # rounds, one after another, of which no task became a row
        while wanted:
            for invented in self._invented(engine, rounds, costs, wanted - len(waiting)):
                if isinstance(invented, Reject):
                    yield invented
                else:
                    waiting.append(invented)
            if not waiting:
                break
            fruitful: dict[int, bool] = {task_of(row).round: False for row in waiting}
            place, unanswered = 0, False
            rows = tuple(waiting)
            run = self.run(self.of_rows, engine, rows.__iter__, rows.__len__, accept=wanted, told=costs.add)
            for outcome in run.outcomes(self.NAME, done):
                if isinstance(outcome, Row):
                    wanted -= 1
                    fruitful[task_of(outcome).round] = True
                unanswered = unanswered or isinstance(outcome, TransientError)
                place += 1
                yield outcome
            self.extended += run.extended
            del waiting[:place]
            for found in fruitful.values():
                barren = 0 if found else barren + 1
            if unanswered or rounds.stopped or (wanted and barren >= DRY_ROUNDS):
                break
        self._facts |= self._ended(rounds, wanted, barren)

    def _ended(self, rounds: Rounds, wanted: int, barren: int) -> dict[str, str]:
        """Why the run ends, in a word and in a sentence."""
        if not wanted:
            return {"stopped": "accepted", "stopped_detail": f"all {self.settings.accept:,} rows were accepted"}
        if rounds.stopped:
            return {"stopped": rounds.stopped, "stopped_detail": rounds.detail}
        detail = f"no answer to a task of the last {barren} rounds passed the checks"
        return {"stopped": "dry", "stopped_detail": detail}

    def _invented(self, engine: Engine, rounds: Rounds, costs: Costs, wanted: int) -> Iterator[Row | Reject]:
        """The tasks of as many rounds as it takes for so many, and what is rejected."""
        if wanted <= 0 or rounds.stopped:
            return
        with progress(lambda: wanted, f"{self.NAME}: inventing", "task", leave=False) as bar:
            while wanted > 0 and not rounds.stopped:
                for outcome in self._round(engine, rounds, costs):
                    if isinstance(outcome, Row):
                        wanted -= 1
                        bar.update()
                    yield outcome

    def _round(self, engine: Engine, rounds: Rounds, costs: Costs) -> Iterator[Row | Reject]:
        """One round: its requests at once, their replies in order."""
        asked = rounds.compose()
        of_round = Costs(engine.spending.prices)

        def told(*answered: Any) -> None:
            of_round.add(*answered)
            costs.add(*answered)

        what = f"a request of round {rounds.round}"
        replies = list(self._through(engine, [self.invent], asked, told, what, extend=False))
        found = rounds.read(asked, replies)
        if self.before_keeping:
            prepared = list(rounds.prepare(found))
            what = f"a task of round {rounds.round}"
            found = self._through(engine, self.before_keeping, prepared, costs.add, what)
            for outcome in found:
                if isinstance(outcome, Row):
                    yield rounds.keep(outcome)
                else:
                    yield outcome if outcome.stage == self.invent.name else rounds.reject(outcome)
        else:
            for outcome in found:
                yield rounds.keep(outcome) if isinstance(outcome, Row) else outcome
        answers = [reply.answers[0] for reply in replies if isinstance(reply, Row)]
        tokens = (sum(each.prompt_tokens for each in answers), sum(each.completion_tokens for each in answers))
        rounds.finish(*tokens, of_round.usd)

    def _through(
        self,
        engine: Engine,
        stages: Sequence[Stage],
        rows: Sequence[Row | Reject],
        told: Any,
        what: str,
        **options: Any,
    ) -> Iterator[Row | Reject]:
        """Takes all rows through stages. What comes after hangs on all of them: one without an answer ends the run."""
        if not stages:
            yield from rows
            return
        told = told.add if isinstance(told, Costs) else told
        run = self.run(stages, engine, rows.__iter__, rows.__len__, told=told, **options)
        for outcome in run.outcomes(self.NAME, lambda outcome: None):
            if isinstance(outcome, TransientError):
                raise IncompleteError(
                    f"{what} has no answer ({outcome}); every other answer is in {engine.ledger.path}: "
                    "run the same command again to go on"
                )
            yield outcome
        self.extended += run.extended

    def to_columns(self, row: Row) -> dict[str, Any]:
        """The row in the language in which its task was invented."""
        return self._columns(row, task_of(row).language)

    def to_rows(self, row: Row) -> list[dict[str, Any]]:
        """The row, or the pair of rows."""
        return [self._columns(row, language) for language in self.languages]

    def _columns(self, row: Row, language: Language) -> dict[str, Any]:
        task, number = task_of(row), self.languages.index(language)
        paired = len(self.languages) > 1
        instruction, input = languages_of(row)[number] if paired else (task.instruction, task.input)
        answer = row.answers[number]
        translation = row.translation if language != task.language else None
        return {
            "instruction": instruction,
            "input": input,
            "output": answer.text.strip(),
            "metadata": {
                "id": f"{task.id}-{language}" if paired else task.id,
                "origin": task.origin,
                **provenance(answer),
                "language": language,
                "pair": task.id if paired else None,
                "kind": task.kind or None,
                "topic": task.topic or None,
                "round": task.round,
                "label": task.chosen,
                "instruction_request": task.invented.request if task.invented else None,
                "input_request": task.given.request if task.given else None,
                "translation_request": translation.request if translation else None,
                "translator": translation.teacher if translation else None,
            },
        }

    # --- the facts --------------------------------------------------------------------------------------------------

    def answers_of(self, row: Row) -> list[Answer]:
        """The answers of a row but the reply that its task stood in with others: the rounds count that."""
        task = task_of(row)
        own = [answer for answer in super().answers_of(row) if not _is(answer, task.invented)]
        return own if any(_is(answer, task.given) for answer in own) else [*own, *filter(None, [task.given])]

    def found(self, rows: int) -> dict[str, Any]:
        """How the tasks were invented."""
        usd = self._costs.usd
        return {
            "self_instruct": {
                "recipe": self.settings.recipe,
                "language": self.settings.language,
                **self._facts,
                "invented": self._rounds.invented,
                "usd_per_row": round(usd / rows, 8) if usd is not None and rows else None,
                "rounds": self._rounds.facts,
            }
        }

    def advice(self, rows: int, ready: int) -> str:
        """Fewer rows can be had without asking."""
        return f"--accept {rows} builds what is answered" if rows else ""

    def _identity(self) -> dict[str, Any]:
        return {**super()._identity(), "recipe": self.settings.recipe, "language": self.settings.language}


def _is(answer: Answer, other: Answer | None) -> bool:
    return other is not None and answer.request == other.request
