"""The prompts of our own recipe of Self-Instruct: for new tasks, steered and structured, and for a task's input.

Each in English and in Chinese. Those of the classic recipes are in `self_instruct_classics`; `self_instruct_replies`
reads what comes back to either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpt4_instruct.records import Language

__all__ = [
    "FIELDS",
    "INPUT_SCHEMA",
    "Example",
    "Wishes",
    "fill",
    "one_line",
    "render_input",
    "render_tasks",
    "tasks_schema",
]


@dataclass(frozen=True, slots=True)
class Example:
    """A task as it is shown in a prompt.

    Attributes:
        instruction: what to do.
        input: what to do it with; may be empty.
        output: an answer, where there is one in the prompt's language; may be empty.
        kind: of the task; may be empty.
    """

    instruction: str
    input: str = ""
    output: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the tasks of one request are to be like, in the prompt's language.

    Attributes:
        topic: the field that most of them are from.
        kinds: names of task kinds, wanted above all.
        verbs: to be used rather than others.
        avoid: verbs and nouns that there is enough of; may be empty.
    """

    topic: str
    kinds: Sequence[str]
    verbs: Sequence[str]
    avoid: Sequence[str] = ()


INPUT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}

_TASKS: dict[Language, str] = {
    "en": """\
You write tasks for a collection from which an assistant learns. The assistant reads and writes text and can do \
nothing else. The collection already holds these:

{examples}

Write {count} new tasks for it.
- Each can be done from its own words alone: it needs no picture, sound, file, link or tool, and nothing to be done in \
the world.
- Each is an order or a question of one to three sentences. They differ from one another and from those above in what \
is done, not only in names and numbers.
- Most of them are from this field: {topic}.
- Wanted above all: {kinds}.
- Let them begin in different ways. Rarely used so far, and welcome: {verbs}.{avoid}
- "input" is the text, the data or the case that a task is about: realistic and complete, up to about 100 words, never \
a placeholder. Where the instruction says everything, "input" is empty and "needs_input" is false.
- Where a task sorts something into classes, the instruction names the classes, "labels" lists them, "input" is empty \
and "needs_input" is true. For every other task "labels" is empty.
- "kind" is one of: {names}.

Write the tasks in English. Reply with one JSON object and nothing else: {"tasks": [{"instruction": "...", "input": \
"...", "needs_input": false, "kind": "...", "labels": []}, ...]}""",
    "zh": """\
你在为一个任务集编写任务，有一个助手要从中学习。这个助手只会读写文字，别的都做不了。任务集里已经有这些任务：

{examples}

请再编写 {count} 个新任务。
- 每个任务只凭自身的文字就能完成：不需要图片、声音、文件、链接或工具，也不需要在现实中做什么。
- 每个任务是一到三句话的要求或问题。任务之间、以及与上面的任务之间，差别要在做的事情上，而不只是换个名字或数字。
- 大多数任务取材于这个领域：{topic}。
- 最需要的是：{kinds}。
- 任务的开头要多样。目前用得少、欢迎使用的动词有：{verbs}。{avoid}
- "input" 是任务所针对的文本、数据或情形：要真实、完整，一般不超过 150 字，不能用占位符。如果指令已经说全，"input" \
为空，"needs_input" 为 false。
- 如果任务是把某样东西归入若干类别，指令里要写明有哪些类别，"labels" 列出这些类别，"input" 为空，"needs_input" \
为 true。其他任务的 "labels" 为空。
- "kind" 取下列之一：{names}。

任务请用简体中文写。只回复一个 JSON 对象，不要写别的：{"tasks": [{"instruction": "……", "input": "……", \
"needs_input": false, "kind": "……", "labels": []}, ……]}""",
}
_AVOID: dict[Language, str] = {"en": " Enough of: {words}.", "zh": "已经够多、请少用的有：{words}。"}
# What the parts of a task are called, and what stands between words.
FIELDS: dict[Language, dict[str, str]] = {
    "en": {"instruction": "Instruction", "input": "Input", "output": "Output", "comma": ", ", "colon": ": "},
    "zh": {"instruction": "指令", "input": "输入", "output": "输出", "comma": "、", "colon": "："},
}


def render_tasks(
    examples: Sequence[Example], count: int, wishes: Wishes, kinds: Mapping[str, str], language: Language
) -> str:
    """The prompt of our own recipe: for new tasks as `tasks_schema`.

    Args:
        examples: tasks that are in the collection.
        count: how many new ones are wanted.
        wishes: what they are to be like.
        kinds: every kind's name, with what it is in `language`.
        language: of the prompt and of the tasks.
    """
    field = FIELDS[language]
    lines = []
    for number, example in enumerate(examples, start=1):
        kind = f" ({example.kind})" if example.kind else ""
        lines.append(f"{number}.{kind} {one_line(example.instruction)}")
        if example.input:
            lines.append(f"{field['input']}{field['colon']}{example.input}")
    avoid = _AVOID[language].replace("{words}", field["comma"].join(wishes.avoid)) if wishes.avoid else ""
    wanted = [f"{name} ({kinds[name]})" if language == "en" else f"{name}（{kinds[name]}）" for name in wishes.kinds]
    return fill(
        _TASKS[language],
        examples="\n".join(lines),
        count=str(count),
        topic=wishes.topic,
        kinds=field["comma"].join(wanted),
        verbs=field["comma"].join(wishes.verbs),
        avoid=avoid,
        names=", ".join(kinds),
    )


def tasks_schema(kinds: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of the reply to `render_tasks`, valid in OpenAI's strict mode."""
    text = {"type": "string"}
    task = {
        "instruction": text,
        "input": text,
        "needs_input": {"type": "boolean"},
        "kind": {"type": "string", "enum": list(kinds)},
        "labels": {"type": "array", "items": text},
    }
    return _object({"tasks": {"type": "array", "items": _object(task)}})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


# --- an input for a task --------------------------------------------------------------------------------------------

_INPUT: dict[Language, str] = {
    "en": """\
The task below needs an input: the text, the data or the case that it is about. Write one, realistic and complete, of \
up to about 100 words{label}. Do not carry out the task. Reply with one JSON object and nothing else: {"input": "..."}

Task: {task}""",
    "zh": """\
下面的任务需要一个输入，也就是它所针对的文本、数据或情形。请写一个，要真实、完整，一般不超过 150 字{label}。\
不要完成任务本身。只回复一个 JSON 对象，不要写别的：{"input": "……"}

任务：{task}""",
}
_LABEL: dict[Language, str] = {
    "en": ', for which the right answer is "{label}"; the input must not name that answer',
    "zh": "，并且使正确答案是“{label}”；输入中不要写出这个答案",
}


def render_input(instruction: str, label: str | None, language: Language) -> str:
    """The prompt for a task's input, as `INPUT_SCHEMA`.

    Args:
        instruction: the task.
        label: the answer that is to be right for the input, for a classification.
        language: of the task.
    """
    wanted = fill(_LABEL[language], label=label) if label else ""
    return fill(_INPUT[language], label=wanted, task=instruction)


def one_line(text: str) -> str:
    """The text with every run of white space as one space."""
    return re.sub(r"\s+", " ", text).strip()


_PLACE = re.compile(r"\{([a-z]+)\}")


def fill(template: str, **values: str) -> str:
    """Puts values into a template, in one go: neither the JSON around them nor braces within them are places."""
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), template)
