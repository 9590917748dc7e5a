"""Reads the replies to Self-Instruct's prompts: tasks and examples out of JSON, numbered lists and labelled text.

Nothing is guessed: a task that is cut off says so, what has no task in it gives none. Text is read in either language,
for models mix them up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpt4_instruct.records import well_formed

__all__ = ["Draft", "read_input", "read_instances", "read_listed", "read_numbered", "read_tasks"]

_MOST_TRIES = 2_000  # braces at which no object begins; a reply of nothing else is none
_NO_INPUT = frozenset(
    {
        *("<noinput>", "noinput", "<no input>", "no input", "n/a", "none", "null"),
        *("<无输入>", "＜无输入＞", "无输入", "<无>", "无", "（无）"),
    }
)
_YES = frozenset({"true", "yes", "1", "是", "需要"})
_DEPTH = 3  # of lists and objects around a task


@dataclass(frozen=True, slots=True)
class Draft:
    """A task as a reply gives it.

    Attributes:
        instruction: what to do; empty where a task lacks it.
        input: what to do it with.
        output: its answer, where the reply has one.
        needs_input: whether it says that it works on an input.
        kind: what kind of task it says that it is.
        labels: the classes that it sorts into.
        cut: the reply ends in the middle of it.
        flaw: what it lacks, in a few words; empty for a whole task.
    """

    instruction: str
    input: str = ""
    output: str = ""
    needs_input: bool = False
    kind: str = ""
    labels: tuple[str, ...] = ()
    cut: bool = False
    flaw: str = ""


def read_tasks(text: str, *, cut: bool = False) -> list[Draft]:
    """The tasks in a reply to `render_tasks`: JSON in any wrapping, else a numbered or labelled list.

    Args:
        text: the reply. An array that is cut off gives its whole tasks, and the last one as `cut`.
        cut: the reply was cut off at the token limit.

    >>> found = read_tasks('{"tasks": [{"instruction": "Name a river.", "input": ""}, {"instruction": "Na')
    >>> [(each.instruction, each.cut) for each in found]
    [('Name a river.', False), ('Na', True)]
    >>> [each.instruction for each in read_tasks("1. 写一首诗。\\n2. 说出一条河的名字。")]
    ['写一首诗。', '说出一条河的名字。']
    >>> read_tasks("I cannot think of any task.")
    []
    """
    text = well_formed(text)
    found = _from_json(text)
    if found:
        return found
    labelled = read_numbered(text, cut=cut, outputs=False)
    return labelled or read_listed(text, cut=cut)


# --- JSON -----------------------------------------------------------------------------------------------------------

_BEGUN = re.compile(r'"(?:instruction|指令)"\s*:\s*"((?:[^"\\]|\\.)*+)', re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)
_SHOWN = 1_000  # characters of a task that cannot be read


def _from_json(text: str) -> list[Draft]:
    decode = json.JSONDecoder(strict=False).raw_decode  # models write raw newlines into strings
    drafts: list[Draft] = []
    place = read = 0  # where to look next; up to where objects have been read
    for _ in range(_MOST_TRIES):
        place = text.find("{", place)
        if place < 0:
            break
        try:
            value, end = decode(text, place)
        except (ValueError, RecursionError):
            place += 1
            continue
        drafts += _unread(text[read:place], more=True)
        drafts += _drafts(value)
        place = read = end
    return drafts + _unread(text[read:], more=False)


def _unread(text: str, *, more: bool) -> list[Draft]:
    """The tasks in a piece of a reply that is no JSON: broken ones, the last perhaps cut off if no more comes."""
    found = [*_BEGUN.finditer(text)]
    drafts = [Draft(each[1][:_SHOWN].strip(), flaw="broken JSON") for each in found]
    if found and not more and "}" not in _STRING.sub("", text[found[-1].end() :].removeprefix('"')):
        drafts[-1] = replace(drafts[-1], cut=True, flaw="")
    return drafts


def _drafts(value: Any, depth: int = 0) -> Iterator[Draft]:
    """The tasks in a JSON value: it is one, or has some in a list."""
    if isinstance(value, dict):
        value = _fields(value)
        if isinstance(value.get("instruction"), str):
            yield _draft(value)
            return
        value = list(value.values())
    if isinstance(value, list) and depth < _DEPTH:
        for each in value:
            yield from _drafts(each, depth + 1)


def _fields(value: dict[str, Any]) -> dict[str, Any]:
    """The values by the names that we have for them; one that has such a name already goes before the others."""
    names = {name: name.strip().lower() for name in value}
    found = {_FIELD.get(name, name): value[written] for written, name in names.items()}
    return found | {name: value[written] for written, name in names.items() if name in _FIELD.values()}


def _draft(task: dict[str, Any]) -> Draft:
    labels = task.get("labels")
    kept = [_text(each) for each in labels if not isinstance(each, list | dict)] if isinstance(labels, list) else []
    instruction = _text(task["instruction"])
    return Draft(
        instruction=instruction,
        input=_input(_text(task.get("input"))),
        output=_text(task.get("output")),
        needs_input=str(task.get("needs_input", False)).strip().lower() in _YES,
        kind=_text(task.get("kind")).lower(),
        labels=tuple(dict.fromkeys(filter(None, kept))),
        flaw="" if instruction else "no instruction",
    )


def _text(value: Any) -> str:
    if isinstance(value, str):  # an escape in JSON may stand for half a character
        return well_formed(value).strip()
    return "" if value is None or isinstance(value, bool) else json.dumps(value, ensure_ascii=False)


def _input(text: str) -> str:
    return "" if text.strip().lower() in _NO_INPUT else text.strip()


# --- labelled text --------------------------------------------------------------------------------------------------

_FIELD = {
    **dict.fromkeys(("instruction", "task", "指令", "任务"), "instruction"),
    **dict.fromkeys(("input", "输入"), "input"),
    **dict.fromkeys(("output", "输出"), "output"),
}
_MARK = re.compile(
    r"(?:^|(?<=\n))[ \t>*#-]{0,8}(?:(?P<number>\d{1,3})[ \t]?[.、)）．][ \t]*)?\*{0,2}[ \t]?"
    r"(?P<field>instruction|task|input|output|指令|任务|输入|输出)[ \t]?(?:\d{1,3})?\*{0,2}[ \t]?[:：]\*{0,2}",
    re.IGNORECASE,
)
_RULE = re.compile(r"\n[ \t]*#{3,}[ \t]*(?=\n|\Z)")  # what stands between two tasks


def read_numbered(text: str, *, cut: bool = False, outputs: bool = True) -> list[Draft]:
    """The tasks in a reply to `render_numbered`: each with an instruction, an input and an output, labelled.

    Where fields are numbered, only numbered ones count, and only those of the task they stand in: an input may have
    lines that look like fields.

    Args:
        text: the reply; its first instruction may lack its label, which stood at the prompt's end.
        cut: the reply was cut off at the token limit, so that the last task is not whole.
        outputs: a task without input and output is not whole.

    >>> [read] = read_numbered("4. Instruction: Add.\\n4. Input:\\n1, 2\\n4. Output:\\n3\\n###")
    >>> read.instruction, read.input, read.output, read.flaw
    ('Add.', '1, 2', '3', '')
    >>> read_numbered("4. Instruction: Add.\\n4. Input:\\n1, 2")[0].flaw
    'no output'
    """
    marks = [*_MARK.finditer(text)]
    if any(mark["number"] for mark in marks):
        marks = [mark for mark in marks if mark["number"]]
    if not marks:
        return []
    tasks: list[dict[str, str]] = []
    number: str | None = None
    places: list[tuple[dict[str, str], str, int, int]] = []  # a task, a field of it, where that and its value begin
    if _FIELD[marks[0]["field"].lower()] != "instruction":
        tasks.append({"instruction": ""})
        number = marks[0]["number"]
        places.append((tasks[0], "instruction", 0, 0))
    for mark in marks:
        field = _FIELD[mark["field"].lower()]
        if field == "instruction":
            tasks.append({})
            number = mark["number"]
        elif mark["number"] != number or field in tasks[-1]:
            continue  # it is part of what stands before it
        tasks[-1][field] = ""
        places.append((tasks[-1], field, mark.start(), mark.end()))
    ends = [start for _, _, start, _ in places[1:]] + [len(text)]
    for (task, field, _, begin), end in zip(places, ends, strict=True):
        task[field] = _RULE.split("\n" + text[begin:end], maxsplit=1)[0].strip()
    drafts = [_labelled(task, ("input", "output") if outputs else ()) for task in tasks]
    if cut:
        drafts[-1] = replace(drafts[-1], cut=True, flaw="")
    return drafts


def _labelled(task: dict[str, str], wanted: Sequence[str]) -> Draft:
    lacks = [field for field in wanted if field not in task]
    if not task["instruction"]:
        lacks.insert(0, "instruction")
    flaw = f"no {lacks[0]}" if lacks else ""
    return Draft(task["instruction"], _input(task.get("input", "")), task.get("output", ""), flaw=flaw)


# --- numbered lists -------------------------------------------------------------------------------------------------

_ITEM = re.compile(
    r"(?:^|(?<=\n))[ \t>*]{0,8}"
    r"(?:[(（](\d{1,3})[)）]|(\d{1,3})[ \t]?[.、)）．:：]|[一二三四五六七八九十]{1,3}、|[①-⑳]|[-•*])[ \t]*"
)
_BOLD = re.compile(r"\A\*\*([^*\n]+)\*\*")  # the beginning of an item
_BLANK_LINE = re.compile(r"\n\s*\n")
_SPACE = re.compile(r"\s+")


def read_listed(text: str, *, first: int = 1, cut: bool = False, paragraphs: bool = True) -> list[Draft]:
    """The tasks in a reply to `render_listed`: the items of a numbered list, each in one line.

    Args:
        text: the reply.
        first: the number that the list was to go on with. What stands before the next number is its item; before
            another number, it is an introduction.
        cut: the reply was cut off at the token limit, so that the last task is not whole.
        paragraphs: an item may have several; else it ends at a blank line, and what comes after it is no task.

    >>> [each.instruction for each in read_listed("Of course:\\n9. Name a river.\\n10. Sort\\n them.", first=9)]
    ['Name a river.', 'Sort them.']
    >>> [each.instruction for each in read_listed("Name a river.\\n10. Sort them.", first=9)]
    ['Name a river.', 'Sort them.']
    """
    marks = [*_ITEM.finditer(text)]
    if not marks:
        return []
    items = [text[mark.end() : end] for mark, end in zip(marks, _ends(marks, text), strict=True)]
    if int(marks[0][1] or marks[0][2] or 0) == first + 1:
        items.insert(0, text[: marks[0].start()])
    if not paragraphs:
        items = [_BLANK_LINE.split(item.strip(), maxsplit=1)[0] for item in items]
    drafts = [Draft(_SPACE.sub(" ", _BOLD.sub(r"\1", item)).strip(" *#")) for item in items]
    drafts = [each for each in drafts if each.instruction]
    if cut and drafts:
        drafts[-1] = replace(drafts[-1], cut=True)
    return drafts


def _ends(marks: list[re.Match[str]], text: str) -> list[int]:
    return [mark.start() for mark in marks[1:]] + [len(text)]


# --- inputs and examples --------------------------------------------------------------------------------------------

_INPUT_OBJECT = re.compile(r'\{\s*"(?:input|输入)"\s*:', re.IGNORECASE)
_FENCE = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.DOTALL)


def read_input(text: str) -> str | None:
    """The input in a reply to `render_input`; none where there is none.

    >>> read_input('{"input": "The kettle is broken."}'), read_input("Input: The kettle is broken.")
    ('The kettle is broken.', 'The kettle is broken.')
    >>> read_input('{"input": ""}'), read_input('{"input": "The ket')
    (None, None)
    """
    text = well_formed(text).strip()
    fenced = _FENCE.match(text)
    text = fenced[1].strip() if fenced else text
    begun = _INPUT_OBJECT.search(text)
    if begun or text.startswith("{"):
        try:
            value, _ = json.JSONDecoder(strict=False).raw_decode(text, begun.start() if begun else 0)
        except (ValueError, RecursionError):
            return None
        return _input(_text(_fields(value).get("input"))) or None
    for mark in _MARK.finditer(text):
        if _FIELD[mark["field"].lower()] == "input":
            return _input(text[mark.end() :]) or None
    return _input(text) or None


_EXAMPLE = re.compile(r"(?:Example|例子)\s?\d*[.:：]?")
_OUTPUT = re.compile(r"(?:Output|输出)\s*\d*\s*[:：]")
_INPUT_MARK = re.compile(r"(?:Input|输入)\s*\d*\s*[:：]")
_NEXT_TASK = re.compile(r"\n[ \t>*#]*(?:Task|任务)\s*[:：]")
_CLASS = re.compile(r"(?:Class label|类别标签)\s*[:：]", re.IGNORECASE)


def read_instances(text: str, most: int, *, classification: bool, cut: bool = False) -> list[tuple[str, str]]:
    """The (input, output) examples in a reply to `render_instances`; of a classification the output is the label.

    Args:
        text: the reply. Where it goes on with a task of its own, it ends.
        most: how many examples are read, but of a classification, which has one for each label.
        classification: whether the task is one.
        cut: the reply was cut off at the token limit.

    Read as `self_instruct/prepare_for_finetuning.py` of yizhongw/self-instruct @ 0b26ccaa reads them: without an
    "Output:" an example is all output, and of a reply that was cut off the last example is left out.

    >>> read_instances("Example 1\\nInput: a b\\nOutput: b a\\nExample 2\\nOutput: c", 5, classification=False)
    [('a b', 'b a'), ('', 'c')]
    >>> read_instances("Class label: spam\\nText: Buy now!", 5, classification=True)
    [('Text: Buy now!', 'spam')]
    """
    text = well_formed(text).strip()
    begun = (_CLASS if classification else _OUTPUT).search(text)
    ended = _NEXT_TASK.search(text, begun.end()) if begun else None
    text = text[: ended.start()] if ended else text
    found: list[tuple[str, str]] = []
    if classification:
        for part in _CLASS.split(text)[1:]:
            label, _, input = part.strip().partition("\n")
            found.append((_INPUT_MARK.sub("", input.strip(), count=1).strip(), label.strip()))
    elif _EXAMPLE.search(text):
        introduction, *parts = _EXAMPLE.split(text)
        if _OUTPUT.search(introduction):  # the first example lacks its name
            parts.insert(0, introduction)
        found = [_instance(part) for part in parts if part.strip()]
    elif _OUTPUT.search(text):
        found = [_instance(text)]
    whole = found[:-1] if cut and not ended else found
    return whole if classification else whole[:most]


def _instance(text: str) -> tuple[str, str]:
    parts = _OUTPUT.split(text)
    input, output = (parts[0], parts[1]) if len(parts) > 1 else ("", text)
    output = _INPUT_MARK.split(output, maxsplit=1)[0]
    return re.sub(rf"\A{_INPUT_MARK.pattern}", "", input.strip()).strip(), output.strip()
