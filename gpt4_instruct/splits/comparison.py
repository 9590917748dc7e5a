"""Comparison: several models answer each instruction, and a scorer gives each answer 1 to 10, one answer a request.

In the paper GPT-4, GPT-3.5 and OPT-IML answer and GPT-4 scores. The row has the shape of the released
`comparison_data_v2.json`, its prompt already rendered::

    {"user_input": "Below is an instruction ...### Response:",
     "responses_and_scores": [{"response": "Jupiter.", "source": "gpt-4", "score": 9.0},
                              {"response": "Saturn.", "source": "opt-iml", "score": 1.0}], "metadata": {...}}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from gpt4_instruct.errors import UsageError
from gpt4_instruct.prompts.tasks import SCORES, read_score, render_alpaca, render_score
from gpt4_instruct.records import Answer, Reject, Request, Row, Sampling, Scored, provenance
from gpt4_instruct.splits.base import Split
from gpt4_instruct.splits.english import AnswerInEnglish
from gpt4_instruct.splits.stages import Stage, question, rejected
from gpt4_instruct.teachers.base import Teacher

__all__ = ["Comparison"]

# The score alone takes a token or two; the rest is room for the explanation where the reply is free text. Greedy: the
# same answer should not be scored differently by chance.
_SCORING = Sampling(temperature=0.0, max_tokens=256)


class _Score(Stage):
    name = "score"

    def __init__(self, scorer: Teacher, sources: Sequence[str], seed: int | None) -> None:
        self.scorer = scorer
        self._sources = sources
        self._sampling = replace(_SCORING, seed=seed)

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        task = row.instruction
        shown = f"{task.instruction}\n\n{task.input}" if task.input else task.instruction
        prompts = [render_score(shown, answer.text.strip()) for answer in row.answers]
        return [question(self.scorer, prompt, self._sampling, choices=SCORES) for prompt in prompts]

    def stand_in(self, row: Row, request: Request, tokens: int) -> str:
        return SCORES[0]

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        scored = []
        for source, response, answer in zip(self._sources, row.answers, answers, strict=True):
            score = read_score(answer.text)
            if score is None:
                detail = f"the reply on {source}'s answer holds no score from 1 to 10"
                return rejected(row, self.name, "unreadable_score", detail, answer.text)
            scored.append(Scored(response.text.strip(), source, float(score)))
        return replace(row, scores=tuple(answers), scored=tuple(scored))


class Comparison(Split):
    """The comparison split: answers of several models, each scored."""

    NAME = "comparison"
    TITLE = "Answers of several models to the same instructions, each scored from 1 to 10 by a model"
    OPTIONS = frozenset({"answers_from", "scorer"})

    def make_stages(self) -> list[Stage]:
        """A stage for each answering model, and one that scores.

        Raises:
            UsageError: fewer than two models answer.
        """
        teachers = list(self.settings.answers_from) or [self.settings.teacher] * 2
        if len(teachers) < 2:
            raise UsageError("a comparison needs at least two answers: give --answers-from twice or more")
        scorer = self.connect(self.settings.scorer or self.settings.teacher)
        answering = [self.connect(teacher) for teacher in teachers]
        sources = _sources(answering)
        stages: list[Stage] = []
        asked: Counter[tuple[str, str]] = Counter()
        for teacher, source in zip(answering, sources, strict=True):
            who = (teacher.endpoint, teacher.model)
            stages.append(AnswerInEnglish(teacher, self.sampling, asked[who], f"answer of {source}", self.checks))
            asked[who] += 1
        return [*stages, _Score(scorer, sources, self.settings.seed)]

    def to_columns(self, row: Row) -> dict[str, Any]:
        """The rendered prompt, the scored answers, and where each answer and each score came from."""
        task = row.instruction
        return {
            "user_input": render_alpaca(task.instruction, task.input),
            "responses_and_scores": [asdict(each) for each in row.scored],
            "metadata": {
                "id": task.id,
                "origin": task.origin,
                "answers": [provenance(answer) for answer in row.answers],
                "scores": [provenance(answer) for answer in row.scores],
            },
        }


def _sources(teachers: Sequence[Teacher]) -> list[str]:
    """A name for each answer: ``gpt-4`` for ``openai:gpt-4``, as in the released files, made unique where it is not."""
    short = [teacher.spec.partition(":")[2] or teacher.spec for teacher in teachers]
    models: dict[str, set[tuple[str, str]]] = {}
    for name, teacher in zip(short, teachers, strict=True):
        models.setdefault(name, set()).add((teacher.endpoint, teacher.model))
    names: list[str] = []
    for name, teacher in zip(short, teachers, strict=True):
        full = name if len(models[name]) == 1 else teacher.spec
        count = sum(each == full or each.startswith(f"{full}#") for each in names)
        names.append(f"{full}#{count + 1}" if count else full)
    return names
