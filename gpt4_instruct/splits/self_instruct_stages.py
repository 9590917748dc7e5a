"""The stages of Self-Instruct: from a request for tasks to tasks, from a task to its row.

Our own recipe: an input where a task needs one, perhaps the other language, then the teacher's answer. Alpaca's tasks
bring their answer. Self-Instruct's are told apart into classifications and others, and come by examples with answers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace

from gpt4_instruct.prompts.self_instruct import INPUT_SCHEMA, render_input, tasks_schema
from gpt4_instruct.prompts.self_instruct_classics import YES_NO, render_instances, render_is_classification
from gpt4_instruct.prompts.self_instruct_replies import read_input, read_instances
from gpt4_instruct.prompts.tasks import render_alpaca, render_chinese
from gpt4_instruct.quality.base import Sample, first_failure
from gpt4_instruct.records import Answer, Language, Message, Reject, Request, Row
from gpt4_instruct.splits.chinese import AnswerInChinese, ask_for_translation, read_translated
from gpt4_instruct.splits.rounds import Asked, Task
from gpt4_instruct.splits.self_instruct_recipes import (
    CLASS_INSTANCES,
    CLASSIFICATION,
    INPUT,
    INSTANCE_CHECKS,
    INSTANCE_PARAMETERS,
    INSTANCES,
    MOST_INSTANCES,
    Recipe,
)
from gpt4_instruct.splits.stages import Stage, check_answer, question, rejected
from gpt4_instruct.splits.steering import kinds_of
from gpt4_instruct.teachers.base import Teacher

__all__ = [
    "AnswerInBoth",
    "BothLanguages",
    "Classify",
    "GiveInput",
    "GiveInstance",
    "Invent",
    "OwnOutput",
    "languages_of",
]


def task_of(row: Row) -> Task:
    """The invented task of a row."""
    assert isinstance(row.instruction, Task)
    return row.instruction


class Invent(Stage):
    """A teacher invents tasks: one request, the prompt of an `Asked`.

    Args:
        teacher: who invents.
        recipe: how.
        seed: sent with every request when given.
    """

    name = "invent"

    def __init__(self, teacher: Teacher, recipe: Recipe, seed: int | None) -> None:
        self.teacher = teacher
        self._parameters = {**replace(recipe.sampling, seed=seed).parameters(), **recipe.parameters}
        self._schema = tasks_schema(list(kinds_of("en"))) if recipe.style == "structured" else None

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        """One request."""
        asked = row.instruction
        assert isinstance(asked, Asked)
        messages = (Message("user", asked.instruction),)
        to = (self.teacher.endpoint, self.teacher.model, messages, self._parameters)
        return [(self.teacher, Request(*to, sample=asked.sample, schema=self._schema))]

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        """The row with the reply; `Rounds.read` reads it."""
        return replace(row, answers=tuple(answers))


class GiveInput(Stage):
    """A teacher writes the input that a task says it needs and lacks, or one of the class that was chosen for it.

    Args:
        teacher: who writes.
        seed: sent with every request when given.
    """

    name = "instance"
    changes_task = True

    def __init__(self, teacher: Teacher, seed: int | None) -> None:
        self.teacher = teacher
        self._sampling = replace(INPUT, seed=seed)

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        """One request, or none where the task has what it needs."""
        task = task_of(row)
        if task.chosen is None and (task.input or not task.needs_input):
            return []
        prompt = render_input(task.instruction, task.chosen, task.language)
        return [question(self.teacher, prompt, self._sampling, schema=INPUT_SCHEMA)]

    def stand_in(self, row: Row, request: Request, tokens: int) -> str:
        """An input of so many words."""
        return json.dumps({"input": super().stand_in(row, request, tokens)})

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        """The row with its input, if there is one."""
        if not answers:
            return row
        (answer,) = answers
        if answer.finish_reason == "length":
            return rejected(row, self.name, "truncated", "the input was cut off at the token limit", answer.text)
        given = read_input(answer.text)
        if given is None:
            return rejected(row, self.name, "no_input", "the reply holds no input", answer.text)
        return replace(row, instruction=replace(task_of(row), input=given, given=answer))


class BothLanguages(Stage):
    """A translator puts a task into the other language: from then on it is one in English, with its Chinese.

    Args:
        translator: who translates.
        seed: sent with every request when given.
    """

    name = "translate"
    changes_task = True

    def __init__(self, translator: Teacher, seed: int | None) -> None:
        self.translator = translator
        self._seed = seed

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        """One request, or none where the task is in both languages."""
        task = row.instruction
        if task.chinese is not None and task.chinese[0] != task.instruction:
            return []
        into: Language = "zh" if task.chinese is None and not _is_chinese(row) else "en"
        return [ask_for_translation(self.translator, self._seed, task, into)]

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        """The row in both languages, if the translation can be read and is one."""
        if not answers:
            return row
        (answer,) = answers
        task = row.instruction
        own = (task.instruction, task.input)
        found = read_translated(row, self.name, answer, "en" if _is_chinese(row) else "zh")
        if isinstance(found, Reject):
            return found
        english, chinese = (found, own) if _is_chinese(row) else (own, found)
        pair = replace(task, instruction=english[0], input=english[1], chinese=chinese)
        return replace(row, instruction=pair, translation=answer)


def _is_chinese(row: Row) -> bool:
    """Whether the task of a row that is not translated yet is Chinese."""
    task = row.instruction
    return task.language == "zh" if isinstance(task, Task) else task.chinese is not None


class AnswerInBoth(AnswerInChinese):
    """A teacher answers a task in English and in Chinese; the pair is whole or not at all.

    Args:
        teacher: who answers.
        sampling: how.
        checks: what each answer must pass.
    """

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        """Two requests: the task in English, the task in Chinese."""
        english, chinese = languages_of(row)
        prompts = (render_alpaca(*english), render_chinese(*chinese))
        return [question(self.teacher, prompt, self._sampling) for prompt in prompts]

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        """The row with both answers, if both pass the checks."""
        languages: tuple[Language, Language] = ("en", "zh")
        for language, texts, answer in zip(languages, languages_of(row), answers, strict=True):
            task = replace(row.instruction, instruction=texts[0], input=texts[1])
            failure = check_answer(replace(row, instruction=task), self.name, answer, language, self._checks)
            if failure is not None:
                return failure
        return replace(row, answers=tuple(answers))


def languages_of(row: Row) -> tuple[tuple[str, str], tuple[str, str]]:
    """Instruction and input of a pair, in English and in Chinese."""
    task = row.instruction
    assert task.chinese is not None
    return (task.instruction, task.input), task.chinese


class OwnOutput(Stage):
    """Takes the answer that a task came with; asks nobody.

    Args:
        checks: what it must pass.
    """

    name = "answer"

    def __init__(self, checks: Sequence[str]) -> None:
        self._checks = checks

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        """Nothing."""
        return []

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        """The row with the task's own answer, if it passes the checks."""
        task = task_of(row)
        assert task.invented is not None
        # The reply may be cut off; this task of it is whole.
        answer = replace(task.invented, text=task.output, finish_reason="stop")
        return check_answer(row, self.name, answer, task.language, self._checks) or replace(row, answers=(answer,))


class Classify(Stage):
    """A teacher says whether a task is a classification.

    Args:
        teacher: who says so.
        seed: sent with every request when given.
    """

    name = "classify"

    def __init__(self, teacher: Teacher, seed: int | None) -> None:
        self.teacher = teacher
        self._sampling = replace(CLASSIFICATION, seed=seed)

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        """One request, to be answered yes or no."""
        task = task_of(row)
        prompt = render_is_classification(task.instruction, task.language)
        return [question(self.teacher, prompt, self._sampling, choices=YES_NO[task.language])]

    def stand_in(self, row: Row, request: Request, tokens: int) -> str:
        """No."""
        return request.choices[1]

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        """The row with its kind. What is not a plain yes is a no, as in the source."""
        task = task_of(row)
        yes = answers[0].text.strip().strip("。.").casefold() == YES_NO[task.language][0].casefold()
        return replace(row, instruction=replace(task, kind="classification" if yes else "generation"))


class GiveInstance(Stage):
    """A teacher writes examples of a task, the label first for a classification; one of them is the row.

    The source makes a row of each example, up to five of a task. Here a task is one row: of the examples that pass the
    filters, one is drawn by the task's name, so that labels are used alike, whatever the order of the replies.

    Args:
        teacher: who writes.
        seed: sent with every request when given.
        checks: what the row must pass besides.
    """

    name = "instance"

    def __init__(self, teacher: Teacher, seed: int | None, checks: Sequence[str]) -> None:
        self.teacher = teacher
        self._seed = seed
        # A reply may be cut off behind whole examples.
        self._checks = tuple(check for check in checks if check not in ("truncated", *INSTANCE_CHECKS))

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        """One request."""
        task = task_of(row)
        is_class = task.kind == "classification"
        prompt = render_instances(task.instruction, MOST_INSTANCES, task.language, classification=is_class)
        parameters = replace(CLASS_INSTANCES if is_class else INSTANCES, seed=self._seed).parameters()
        to = (self.teacher.endpoint, self.teacher.model, (Message("user", prompt),))
        return [(self.teacher, Request(*to, {**parameters, **INSTANCE_PARAMETERS}))]

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        """The row with the input and the output of one example."""
        (answer,) = answers
        task = task_of(row)
        is_class = task.kind == "classification"
        cut = answer.finish_reason == "length"
        found = read_instances(answer.text, MOST_INSTANCES, classification=is_class, cut=cut)
        if not found:
            return rejected(row, self.name, "no_instance", "the reply holds no whole example", answer.text)
        whole: list[tuple[str, str]] = []
        failure: tuple[str, str] | None = None
        for input, output in found:
            sample = Sample(task.instruction, input, output, language=task.language)
            failed = first_failure(INSTANCE_CHECKS, sample)
            failure = failure or failed
            if failed is None and (input, output) not in whole:
                whole.append((input, output))
        inputs = [input for input, _ in whole if input]
        if len(set(inputs)) < len(inputs):
            failure, whole = ("conflicting_instances", "one input comes with different outputs"), []
        if not whole:
            return rejected(row, self.name, *(failure or ("no_instance", "no example is left")), answer.text)
        input, output = random.Random(task.id).choice(whole)
        chosen = output if is_class else None
        task = replace(task, input=input, output=output, chosen=chosen, given=answer)
        row = replace(row, instruction=task)
        taken = replace(answer, text=output, finish_reason="stop")
        return check_answer(row, self.name, taken, task.language, self._checks) or replace(row, answers=(taken,))
