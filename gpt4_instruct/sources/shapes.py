"""Every shape of a row in the wild, and how it is read: one adapter each, told apart by the row's keys.

    instruction, input, output                    Alpaca; also with label (Unnatural's answers), or with instruction_zh
    instruction, instances, reformulations?       Unnatural Instructions core and full; Self-Instruct
    user_input, responses_and_scores              comparison v2: [{response, source, score}], the prompt rendered
    user_input, completion_a, completion_b        comparison v1: a is the better one
    prompt, chosen, rejected                      preferences, as texts or as messages (then the prompt may be left out)
    messages, or conversations                    chat: [{role, content}], or ShareGPT's [{from, value}]
    prompt, completion?                           texts or messages; also `output` or `response` for `completion`
    user_input, or text                           a rendered Alpaca prompt, with or without its response

A prompt in the Alpaca format gives back its instruction and input; any other prompt is an instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from gpt4_instruct.records import Instruction, Language, Reject, Sample, Scored
from gpt4_instruct.sources.parts import (
    ASSISTANTS,
    USERS,
    Exchange,
    Unusable,
    contents,
    exchanges,
    objects,
    read_score,
    read_text,
)
from gpt4_instruct.sources.rendered import recover, recover_prompt

__all__ = ["adapt", "samples"]

# No model reads a million characters (about 250,000 tokens) of one task; such a field is a broken export.
MAX_CHARACTERS = 1_000_000
_NO_CONSTRAINTS = frozenset({"", "none", "none.", "n/a"})
_PLACEHOLDER = "{INPUT}"  # where a reformulation of Unnatural Instructions takes its input

_Fields = dict[str, Any]  # of a Sample: instruction, input, output, label, scored


def samples(row: Any, id: str, origin: str, language: Language = "en") -> list[Sample] | Reject:
    """The finished rows in one raw row: one, or one for each instance or exchange; texts as they are, not stripped.

    A text that is not there is empty, and so is an instruction that is: checks say so. Of a chat, each answer is a
    sample of its own: its instruction is the user's message before it, its input begins with what was said before
    that, in 8,000 characters at most. System messages and tools' are passed over.

    Args:
        row: as it was read; a `ValueError` stands for a row that could not be.
        id: for rows that have no ``id`` of their own.
        origin: ``file:line``.
        language: the language the answers should be in.

    >>> samples({"prompt": "Is 7 prime?", "completion": "Yes."}, "a", "")[0].output
    'Yes.'
    >>> samples({"input": "1 2"}, "a", "sums.json:7").reason
    'missing_field'
    """
    try:
        return _samples(row, id, origin, language)
    except Unusable as problem:
        return _reject(row, id, origin, problem)


def adapt(row: Any, id: str, origin: str) -> Iterator[Instruction | Reject]:
    """The instructions in one row of a source, stripped, each with the row's own answer as its label.

    Args:
        row: as it was read; a `ValueError` stands for a row that could not be.
        id: for rows that have no ``id`` of their own.
        origin: ``file:line``.

    Yields:
        an `Instruction` for a plain row and for each instance of a row with instances; or one `Reject`. Of a chat, only
        the first message is a task that can be understood alone.

    >>> row = {"instruction": "Add.", "instances": [{"input": "1 2"}, {"input": "3 4"}]}
    >>> [each.input for each in adapt(row, "a", "")]
    ['1 2', '3 4']
    >>> next(adapt({"input": "1 2"}, "a", "sums.json:7")).reason
    'missing_field'
    """
    try:
        read = _samples(row, id, origin, "en")
        if _adapter(row) is _chat:
            read = [replace(read[0], id=_own_id(row, id))]
        chinese = (read_text(row, "instruction_zh").strip(), read_text(row, "input_zh").strip())
        # All are made before the first goes out, so that a row is used whole or rejected whole.
        tasks = [_instruction(sample, chinese if chinese[0] else None, _kind(row)) for sample in read]
    except Unusable as problem:
        yield _reject(row, id, origin, problem)
    else:
        yield from tasks


def _reject(row: Any, id: str, origin: str, problem: Unusable) -> Reject:
    task = row if isinstance(row, Mapping) else {}
    shown = {name: str(task.get(name) or "")[:1000] for name in ("instruction", "input")}
    shown = {name: text.encode("utf-8", "replace").decode() for name, text in shown.items()}
    return Reject(id, "source", problem.reason, str(problem), origin, **shown)


def _kind(row: Mapping[str, Any]) -> str:
    """The kind of task that a row says it is; Self-Instruct's say only whether they are a classification."""
    kind = row.get("kind")
    return kind if isinstance(kind, str) else "classification" if row.get("is_classification") is True else ""


def _instruction(sample: Sample, chinese: tuple[str, str] | None, kind: str) -> Instruction:
    for name, text in (("instruction", sample.instruction), ("input", sample.input)):
        if len(text) > MAX_CHARACTERS:
            raise Unusable("too_long", f"{name!r} has {len(text):,} characters, over {MAX_CHARACTERS:,}")
    instruction = sample.instruction.strip()
    if not instruction:
        raise Unusable("empty_instruction", "'instruction' is empty")
    label = (sample.label or "").strip() or sample.output.strip() or None
    return Instruction(sample.id, instruction, sample.input.strip(), label, chinese, sample.origin, kind)


def _samples(row: Any, id: str, origin: str, language: Language) -> list[Sample]:
    if isinstance(row, ValueError):
        raise Unusable("unreadable", str(row))
    if not isinstance(row, Mapping):
        raise Unusable("wrong_type", f"the row is a {type(row).__name__}, not an object")
    found = _adapter(row)(row)
    id = _own_id(row, id)
    finish_reason = row.get("finish_reason") or _metadata(row).get("finish_reason") or ""
    return [
        Sample(
            **fields,
            finish_reason=str(finish_reason),
            language=language,
            id=id if len(found) == 1 else f"{id}.{number}",
            origin=origin,
        )
        for number, fields in enumerate(found, start=1)
    ]


def _own_id(row: Mapping[str, Any], id: str) -> str:
    own = row.get("id", _metadata(row).get("id"))
    return str(own) if isinstance(own, str | int) else id


def _metadata(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The column in which rows of ours say where they come from."""
    found = row.get("metadata")
    return found if isinstance(found, Mapping) else {}


def _adapter(row: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], list[_Fields]]:
    """The adapter of the first shape whose keys the row has; columns of no value count only where no others do."""
    with_value = {name for name, value in row.items() if value is not None}
    for names in (with_value, set(row)):
        for keys, adapter in _SHAPES:
            if keys <= names:
                return adapter
    raise Unusable("missing_field", f"no 'instruction' or 'prompt' among {', '.join(map(str, row))[:200] or 'nothing'}")


# --- the adapters ---------------------------------------------------------------------------------------------------


def _triple(row: Mapping[str, Any]) -> list[_Fields]:
    label = row.get("label")
    # A class label may be a number.
    label = str(label) if isinstance(label, int | float) else read_text(row, "label") or None
    return [{**_task(row), "output": read_text(row, "output"), "label": label}]


def _instances(row: Mapping[str, Any]) -> list[_Fields]:
    instruction = read_text(row, "instruction", required=True)
    found = []
    for instance in objects(row, "instances"):
        constraints = read_text(instance, "constraints").strip()
        free = constraints.lower() in _NO_CONSTRAINTS
        task = instruction if free else f"{instruction.strip()}\n{constraints}"
        found.append(
            {"instruction": task, "input": read_text(instance, "input"), "output": read_text(instance, "output")}
        )
    for each in objects(row, "reformulations") if row.get("reformulations") else ():
        task, input = read_text(each, "instruction", required=True), read_text(each, "input")
        if _PLACEHOLDER in task:
            task, input = read_text(each, "instruction_with_input", required=True), ""
        found.append({"instruction": task, "input": input, "output": read_text(each, "output")})
    return found


def _scored(row: Mapping[str, Any]) -> list[_Fields]:
    task = _task(row)
    scored = tuple(
        Scored(read_text(each, "response"), read_text(each, "source"), read_score(each.get("score")))
        for each in objects(row, "responses_and_scores")
    )
    return [{**task, "output": "", "scored": scored}]


def _better_and_worse(row: Mapping[str, Any]) -> list[_Fields]:
    scored = tuple(Scored(read_text(row, name), name, None) for name in ("completion_a", "completion_b"))
    return [{**_task(row), "output": "", "scored": scored}]


def _chosen_and_rejected(row: Mapping[str, Any]) -> list[_Fields]:
    answers: list[Scored] = []
    task: _Fields = {}
    for name in ("chosen", "rejected"):
        score = read_score(row.get(f"score_{name}", row.get(f"{name}_score")))
        if isinstance(row[name], list):
            # The whole conversation, or only what follows the prompt.
            if not task and contents(row[name], name, USERS):
                task = _asked(exchanges(row, name)[-1])
            answer = next(reversed(contents(row[name], name, ASSISTANTS)), "")
        else:
            answer = read_text(row, name)
        answers.append(Scored(answer, name, score))
    return [{**(task or _task(row)), "output": "", "scored": tuple(answers)}]


def _chat(row: Mapping[str, Any]) -> list[_Fields]:
    name = "conversations" if row.get("messages") is None and "conversations" in row else "messages"
    found = exchanges(row, name)
    answered = [each for each in found if each.answer is not None]
    return [{**_asked(each), "output": each.answer or ""} for each in answered or found]


def _prompt_and_completion(row: Mapping[str, Any]) -> list[_Fields]:
    name = next((each for each in ("completion", "output", "response") if row.get(each) is not None), None)
    if name is None and isinstance(row.get("prompt", row.get("user_input")), str):
        return _rendered(row)
    completion = row.get(name) if name else None
    if isinstance(completion, list):
        completion = next(iter(contents(completion, str(name), ASSISTANTS)), "")
    elif name:
        completion = read_text(row, name)
    return [{**_task(row), "output": completion or ""}]


def _rendered(row: Mapping[str, Any]) -> list[_Fields]:
    name = next(each for each in ("prompt", "user_input", "text") if each in row)
    text = read_text(row, name, required=True)
    task = recover_prompt(text)
    whole = (*task, "") if task else recover(text)
    if whole is None and name == "text":
        raise Unusable("missing_field", "no 'instruction', and 'text' is not in the Alpaca format")
    return [dict(zip(("instruction", "input", "output"), whole or (text, "", ""), strict=True))]


_SHAPES: tuple[tuple[frozenset[str], Callable[[Mapping[str, Any]], list[_Fields]]], ...] = (
    (frozenset({"instruction", "instances"}), _instances),
    (frozenset({"responses_and_scores"}), _scored),
    (frozenset({"completion_a", "completion_b"}), _better_and_worse),
    (frozenset({"chosen", "rejected"}), _chosen_and_rejected),
    (frozenset({"instruction"}), _triple),
    (frozenset({"messages"}), _chat),
    (frozenset({"conversations"}), _chat),
    (frozenset({"prompt"}), _prompt_and_completion),
    (frozenset({"user_input"}), _prompt_and_completion),
    (frozenset({"text"}), _rendered),
)


def _task(row: Mapping[str, Any]) -> _Fields:
    """The instruction and input of a row that has an instruction or a prompt."""
    if row.get("user_input") is None and isinstance(row.get("prompt"), list):
        return _asked(exchanges(row, "prompt")[-1])
    for name in ("user_input", "prompt"):
        if name in row and row.get("instruction") is None:
            return _asked(Exchange("", read_text(row, name, required=True), None))
    return {"instruction": read_text(row, "instruction", required=True), "input": read_text(row, "input")}


def _asked(said: Exchange) -> _Fields:
    """A message as instruction and input. What was said before is part of the input: "Go on" is no task without it."""
    instruction, input = recover_prompt(said.message) or (said.message, "")
    return {"instruction": instruction, "input": "\n\n".join(filter(None, (said.before, input)))}
