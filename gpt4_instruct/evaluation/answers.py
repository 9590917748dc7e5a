"""A model's answers to questions, n to each, as a file that ranking and judging read. A line of it::

    {"id": "1", "instruction": "How do I sleep better?", "input": "", "category": "generic", "reference": null,
     "teacher": "local:llama-gpt4",
     "answers": [{"sample": 0, "text": "Go to bed early.", "finish_reason": "stop", "tokens": 5, "prompt_tokens": 46,
                  "model": "llama-gpt4", "request": "9f2c..."},
                 {"sample": 1, "text": null, "error": {"reason": "refusal", "detail": "400 content_policy: ..."}}]}

A row that holds no question has a line, too: no answers, and ``"error"`` beside them. Beside ``answers.jsonl`` stands
``answers.summary.json``, with what was asked and how.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gpt4_instruct
from gpt4_instruct.asking import find_writer, form_of
from gpt4_instruct.errors import (
    IncompleteError,
    OutputError,
    OutputExistsError,
    RequestRefusedError,
    SourceError,
    TransientError,
    UsageError,
)
from gpt4_instruct.evaluation.asking_again import check_counts, check_writable, opened
from gpt4_instruct.evaluation.questions import Question, read_questions
from gpt4_instruct.generation.engine import Deferred, Engine
from gpt4_instruct.progress import progress
from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.records import Answer, Message, Reject, Request, Sampling
from gpt4_instruct.registry import names
from gpt4_instruct.storage import replacing, write_json
from gpt4_instruct.teachers.base import BatchTeacher, Teacher, connect

__all__ = [
    "TEMPLATES",
    "AnswersResult",
    "answer",
    "free_file",
    "read_answers",
    "render_question",
    "summary_path",
    "teacher_spec",
]

TEMPLATES = ("auto", "alpaca", "chat")

_Outcome = Answer | RequestRefusedError | TransientError


@dataclass(frozen=True, slots=True)
class AnswersResult:
    """What became of the questions.

    Attributes:
        file: a line a question, see the top of `answers`.
        questions: that were asked.
        answers: that came.
        rejected: rows that hold no question, by reason.
        refused: answers that the model or its endpoint refused, by reason.
        cut_off: answers that ended at `max_tokens`.
        asked: requests sent and answered by this run.
        reused: requests answered from the ledger.
        tokens: in the answers.
        seconds: how long it took.
        cost_usd: what this run spent; none where the price of the model is not known.
        template: ``"alpaca"`` or ``"chat"``: how the model was asked.
    """

    file: Path
    questions: int
    answers: int
    rejected: dict[str, int]
    refused: dict[str, int]
    cut_off: int
    asked: int
    reused: int
    tokens: int
    seconds: float
    cost_usd: float | None
    template: str


def answer(
    questions: Any,
    model: str | Teacher,
    out: str | Path,
    *,
    n: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int = 512,
    seed: int | None = None,
    template: str = "auto",
    limit: int | None = None,
    ledger: str | Path | None = None,
    concurrency: int | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    budget_usd: float | None = None,
    prices: str | Path | None = None,
    overwrite: bool = False,
    engine: str = "local",
) -> AnswersResult:
    """Asks a model each question n times and writes all answers into one file.

    Answers are kept in the ledger as they come: stopped at any moment, the same call goes on where it was, and more
    questions or a larger `n` ask only what is new. The file is there when all of it is.

    A model folder behind a vLLM server is reached as any endpoint: ``vllm serve DIR`` there, ``OPENAI_BASE_URL`` set
    to ``http://HOST:8000/v1`` here, and ``openai:DIR`` as the model.

    Args:
        questions: a file of any shape in `sources.shapes`, or of FastChat's questions; a folder that `build` wrote,
            ``"hub:ID"``, ``"seeds"``, ``"released:NAME"``, a `datasets.Dataset`, or a list of dicts. Answers in it are
            kept as references.
        model: ``"local:smollm2"``, ``"local:PATH_OR_HUB_ID"``, ``"openai:MODEL"``, or any other teacher; a folder's
            path, or another text without a colon that names no teacher, means ``"local:"`` and that.
        out: the file, ``.jsonl``; its folder is made if it is not there.
        n: answers to each question. The k-th one is asked as `Request.sample` k - 1: a local model draws each from its
            own random numbers, the same ones each time; an endpoint gets `seed` + k - 1.
        temperature: 0 is greedy, and gives one answer only.
        top_p: nucleus mass, over 0 and up to 1.
        max_tokens: most tokens in an answer.
        seed: another one draws other answers; sent to endpoints only when given.
        template: ``"alpaca"`` sends the rendered Alpaca prompt, ``"chat"`` the plain question, its input below it.
            ``"auto"`` is the first for a model on this computer whose chat template leaves such a prompt as it is (a
            model tuned here), or that has none, also where a server was given its folder, as ``openai:DIR``; and the
            second for all others.
        limit: most questions; all by default.
        ledger: where answers are kept; by default ``$GPT4_INSTRUCT_HOME/ledger.sqlite3``.
        concurrency: requests in flight; by default the teacher's own number.
        requests_per_minute: most requests; by default what the endpoint says that it allows.
        tokens_per_minute: likewise, prompt and answer.
        budget_usd: a hard cap on what this run may spend.
        prices: a price file laid over the packaged one.
        overwrite: write the file anew if it is there.
        engine: who has the work done, as `splits.build.build`: ``"local"``, ``"ray"`` or ``"ray:ADDRESS"``.

    Returns:
        what was done. Questions that the model refused have an ``error`` in place of a text.

    Raises:
        UsageError: an argument cannot work, or the model is one that gives scores.
        SourceError: the questions cannot be read, or there are none.
        OutputError: the file cannot be written; `OutputExistsError` when it is there already.
        RunStoppedError: no request can succeed: wrong key, no such model, unreachable.
        IncompleteError: some answers have not come, or Ctrl-C was pressed; the same call goes on from there.
        BudgetError: the next request could cost more than is left of the budget.

    >>> import tempfile
    >>> from gpt4_instruct.teachers.replay import Replay
    >>> teacher = Replay([{"prompt": "Name the largest planet.", "output": "It is Jupiter."}])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     questions = [{"instruction": "Name the largest planet."}]
    ...     found = answer(questions, teacher, f"{folder}/answers.jsonl", ledger=f"{folder}/ledger.sqlite3")
    ...     (row,) = read_answers(found.file)
    >>> found.answers, row["answers"][0]["text"]
    (1, 'It is Jupiter.')
    """
    started = time.monotonic()
    _check(n, temperature, top_p, max_tokens, limit, concurrency, template)
    file = free_file(Path(out).expanduser(), overwrite=overwrite)
    if isinstance(questions, str | Path) and file.resolve() == Path(questions).expanduser().resolve():
        raise UsageError(f"{file} holds the questions: name another file with --out")
    spec = teacher_spec(model) if isinstance(model, str) else model
    name, asked = read_questions(questions, limit)
    teacher = connect(spec)
    check_writable(file, summary_path(file))
    folder = _folder(spec)
    form = template if template != "auto" else form_of(folder) if folder else "chat"
    sampling = Sampling(temperature, top_p, max_tokens, seed)
    counts: Counter[str] = Counter()
    rejected, refused = Counter[str](), Counter[str]()
    late: list[TransientError] = []
    with (
        opened(
            *(ledger, concurrency, requests_per_minute, tokens_per_minute, budget_usd, prices), engine, teacher
        ) as running,
        replacing(file) as temporary,
        temporary.open("w", encoding="utf-8") as lines,
    ):
        for question, outcomes in running.spread(
            partial(_asked, teacher, form, sampling, n), asked, _text, "answering", lambda: len(asked)
        ):
            late += [each for each in outcomes if isinstance(each, TransientError)]
            for each in outcomes:
                if isinstance(each, Answer):
                    counts["answers"] += 1
                    counts["cut_off"] += each.finish_reason == "length"
                    counts["tokens"] += each.completion_tokens
                    counts["prompt_tokens"] += each.prompt_tokens
                elif isinstance(each, RequestRefusedError):
                    refused[each.reason] += 1
            if isinstance(question, Reject):
                rejected[question.reason] += 1
            lines.write(json.dumps(_line(question, teacher.spec, outcomes), ensure_ascii=False) + "\n")
        if late:
            raise IncompleteError(
                f"{len(late)} answers have not come (last: {late[-1]}); the others are in {running.ledger.path}: "
                "run the same command again to go on"
            )
        result = AnswersResult(
            file=file,
            questions=len(asked) - rejected.total(),
            answers=counts["answers"],
            rejected=dict(rejected.most_common()),
            refused=dict(refused.most_common()),
            cut_off=counts["cut_off"],
            asked=running.asked,
            reused=running.reused,
            tokens=counts["tokens"],
            seconds=round(time.monotonic() - started, 1),
            cost_usd=None if running.spending.unpriced else round(running.spending.spent_usd, 6),
            template=form,
        )
        write_json(
            summary_path(file),
            {
                "package": gpt4_instruct.__version__,
                "questions_from": name,
                "teacher": {"spec": teacher.spec, "endpoint": teacher.endpoint, "model": teacher.model},
                "n": n,
                "sampling": sampling.parameters(),
                "prompt_tokens": counts["prompt_tokens"],
                **{name: value for name, value in _facts(result).items() if name != "file"},
            },
        )
    return result


def teacher_spec(model: str) -> str:
    """A model as a teacher is written: a folder, and a name that is no teacher's, mean one on this computer.

    >>> teacher_spec("smollm2"), teacher_spec("openai:gpt-4")
    ('local:smollm2', 'openai:gpt-4')
    """
    if Path(model).expanduser().exists() or (":" not in model and model not in names("teachers")):
        return f"local:{model}"
    return model


def render_question(instruction: str, input: str, template: str) -> str:
    """What is sent: the rendered Alpaca prompt, or with ``"chat"`` the plain question.

    >>> render_question("Add.", "1 2", "chat")
    'Add.\\n\\n1 2'
    """
    if template == "alpaca":
        return render_alpaca(instruction, input)
    return f"{instruction}\n\n{input}" if input else instruction


def read_answers(file: str | Path) -> Iterator[dict[str, Any]]:
    """The lines of a file of answers, as they stand at the top of `answers`, those without answers among them.

    Raises:
        SourceError: it cannot be read, or is another kind of file.
    """
    path = Path(file).expanduser()
    try:
        with path.open(encoding="utf-8-sig") as lines:  # some editors put a mark of three bytes first
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _read_line(line, f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _read_line(line: str, place: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
        texts = [each["text"] for each in found["answers"]]
        if all(isinstance(each, str) for each in (found["id"], found["instruction"], found["input"])) and all(
            text is None or isinstance(text, str) for text in texts
        ):
            return dict(found)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise SourceError(f"{place} is no line of answers: gpt4-instruct answer writes a file of them")


def summary_path(file: Path) -> Path:
    """Where the summary of a file of answers is: ``answers.summary.json`` beside ``answers.jsonl``."""
    return file.with_name(f"{file.stem}.summary.json")


# --- asking ---------------------------------------------------------------------------------------------------------


def _text(question: Question | Reject) -> str:
    return f"{question.instruction}\n\n{question.input}"


def _asked(
    teacher: Teacher, form: str, sampling: Sampling, n: int, engine: Engine, questions: Sequence[Question | Reject]
) -> Iterator[tuple[Question | Reject, list[_Outcome]]]:
    """Each question, in order, with what became of its n requests."""
    spec = (teacher.endpoint, teacher.model)
    parameters = sampling.parameters()

    async def one(prompt: str, sample: int) -> _Outcome:
        try:
            return await engine.ask(teacher, Request(*spec, (Message("user", prompt),), parameters, sample))
        except (RequestRefusedError, TransientError) as error:
            return error

    async def work(question: Question | Reject) -> tuple[Question | Reject, list[_Outcome] | None]:
        found: list[_Outcome | BaseException] = []
        if isinstance(question, Question):
            prompt = render_question(question.instruction, question.input, form)
            # All are waited for, so that all are asked, or collected for a batch.
            found += await asyncio.gather(*(one(prompt, sample) for sample in range(n)), return_exceptions=True)
        outcomes = [each for each in found if isinstance(each, _Outcome)]
        others = [each for each in found if isinstance(each, BaseException) and not isinstance(each, _Outcome)]
        for error in others:
            if not isinstance(error, Deferred):
                raise error
        if others:
            return question, None
        bar.update()
        return question, outcomes

    if isinstance(teacher, BatchTeacher):
        engine.several_passes = True
        with progress(lambda: len(questions), "collecting", "question") as bar:
            while sum(outcomes is None for _, outcomes in engine.stream(work, questions)):
                engine.run_batches()
        engine.reused = 0
    with progress(lambda: len(questions), "answering", "question") as bar:
        for question, outcomes in engine.stream(work, questions):
            # All answers of batches are here by now; one that is not makes the run incomplete, not wrong.
            yield (
                question,
                [TransientError("an answer by the batch was not collected")] if outcomes is None else outcomes,
            )


def _line(question: Question | Reject, spec: str, outcomes: Sequence[_Outcome]) -> dict[str, Any]:
    line: dict[str, Any] = {"id": question.id, "instruction": question.instruction, "input": question.input}
    if isinstance(question, Reject):
        error = {"reason": question.reason, "detail": question.detail, "origin": question.origin}
        return {**line, "error": error, "answers": []}
    if question.category is not None:
        line["category"] = question.category
    line |= {"reference": question.reference, "teacher": spec}
    return {**line, "answers": [_answer(sample, outcome) for sample, outcome in enumerate(outcomes)]}


def _answer(sample: int, outcome: _Outcome) -> dict[str, Any]:
    if isinstance(outcome, Answer):
        return {
            "sample": sample,
            "text": outcome.text,
            "finish_reason": outcome.finish_reason,
            "tokens": outcome.completion_tokens,
            "prompt_tokens": outcome.prompt_tokens,
            "model": outcome.model,
            "request": outcome.request,
        }
    reason = outcome.reason if isinstance(outcome, RequestRefusedError) else "no_answer"
    detail = outcome.detail if isinstance(outcome, RequestRefusedError) else str(outcome)
    return {"sample": sample, "text": None, "error": {"reason": reason, "detail": detail}}


def _facts(result: AnswersResult) -> dict[str, Any]:
    return {name: getattr(result, name) for name in AnswersResult.__dataclass_fields__}


def _folder(spec: str | Teacher) -> Path | None:
    """The files of the model that a text names, where they are on this computer."""
    name, _, argument = spec.partition(":") if isinstance(spec, str) else ("", "", "")
    served = name == "openai" and (Path(argument).expanduser() / "config.json").is_file() and find_spec("transformers")
    return find_writer(argument)[0] if name in ("local", "vllm") or served else None


def _check(
    n: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
    limit: int | None,
    concurrency: int | None,
    template: str,
) -> None:
    check_counts(n=n, max_tokens=max_tokens, limit=limit, concurrency=concurrency)
    if not 0 <= temperature <= 2:
        raise UsageError(f"temperature is {temperature}, but must be from 0 to 2")
    if not 0 < top_p <= 1:
        raise UsageError(f"top_p is {top_p}, but must be over 0 and up to 1")
    if n > 1 and temperature == 0:
        raise UsageError(f"with temperature 0, all {n} answers would be the same: make it higher, or n 1")
    if template not in TEMPLATES:
        raise UsageError(f"template is {template!r}, but must be one of {', '.join(TEMPLATES)}")


def free_file(file: Path, *, overwrite: bool) -> Path:
    """The file itself, where it and the summary beside it may be written.

    Raises:
        OutputError: it is a folder, or there can be no such file.
        OutputExistsError: without `overwrite`, it is there, or the summary is that of a file with another ending.
    """
    others = (file.with_suffix(ending) for ending in (".jsonl", ".json") if ending != file.suffix)
    try:
        folder, there = file.is_dir(), [file] if file.exists() else []
        if not there and any(each.exists() for each in others) and summary_path(file).exists():
            there = [summary_path(file)]
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error.strerror or error}. Name another with --out") from error
    if folder:
        raise OutputError(f"{file} is a folder: name a file, such as {file / 'answers.jsonl'}")
    if there and not overwrite:
        raise OutputExistsError(f"{there[0]} is there already: --overwrite writes it anew, --out names another")
    return file
