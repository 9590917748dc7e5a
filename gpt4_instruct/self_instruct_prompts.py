"""The prompts of Self-Instruct: for new tasks, for whether a task sorts into classes, for a task's input and examples.

Each in English and in Chinese. Our own recipe asks for structured tasks, steered; the two classic recipes ask in the
structure of their sources (numbers, fields and their order), in words of ours. `self_instruct_replies` reads what comes
back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpt4_instruct.records import Language

__all__ = [
    "INPUT_SCHEMA",
    "NO_INPUT",
    "YES_NO",
    "Example",
    "Wishes",
    "render_input",
    "render_instances",
    "render_is_classification",
    "render_listed",
    "render_numbered",
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

# What stands where a numbered task has no input: English as in tatsu-lab/stanford_alpaca @ 761dc5bf, prompt.txt.
NO_INPUT: dict[Language, str] = {"en": "<noinput>", "zh": "<无输入>"}

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
_FIELDS: dict[Language, dict[str, str]] = {
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
    field = _FIELDS[language]
    lines = []
    for number, example in enumerate(examples, start=1):
        kind = f" ({example.kind})" if example.kind else ""
        lines.append(f"{number}.{kind} {_one_line(example.instruction)}")
        if example.input:
            lines.append(f"{field['input']}{field['colon']}{example.input}")
    avoid = _AVOID[language].replace("{words}", field["comma"].join(wishes.avoid)) if wishes.avoid else ""
    wanted = [f"{name} ({kinds[name]})" if language == "en" else f"{name}（{kinds[name]}）" for name in wishes.kinds]
    return _fill(
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


# --- the recipe of Alpaca -------------------------------------------------------------------------------------------

_NUMBERED: dict[Language, str] = {
    "en": """\
Here is a list of {total} tasks for a language model, which will be graded on how it does them. The first {given} are \
written; write the others, from {first} to {total}.

The list as a whole:
1. The verbs differ from task to task.
2. So does the wording: some tasks are orders, some are questions.
3. So does what is to be done: free writing, sorting into classes, editing and so on.
4. A model that has only text can do every one of them: no pictures, no sound, no alarms, no visits.
5. The tasks are in English.
6. An instruction is one sentence or two.
7. The input is an example for the instruction, with realistic content and not a placeholder, demanding, of 100 words \
at most.
8. A task that needs no input, such as a question about the world, has {noinput} there.
9. The output is a good answer, of fewer than 100 words.

Keep to the form: a line of ###, then the number with Instruction, with Input and with Output.

{list}""",
    "zh": """\
下面是一份共 {total} 个任务的清单，要交给一个语言模型完成并据此评分。前 {given} 个已经写好，请写出其余的，从第 \
{first} 个写到第 {total} 个。

对整份清单的要求：
1. 各个任务使用不同的动词。
2. 措辞也要多样：有的是要求，有的是提问。
3. 要做的事情也要多样：自由写作、分类、修改等等。
4. 只会处理文字的模型都能完成：不要图片、声音、闹钟，也不要外出办事。
5. 任务用简体中文写。
6. 指令为一到两句话。
7. 输入是针对指令的一个例子，内容真实而不是占位符，有一定难度，不超过 150 字。
8. 不需要输入的任务（例如常识提问），输入处写 {noinput}。
9. 输出是一个好的回答，不超过 150 字。

请保持格式：先写一行 ###，然后依次写带编号的指令、输入和输出。

{list}""",
}


def render_numbered(examples: Sequence[Example], total: int, language: Language) -> str:
    """The prompt of Alpaca's recipe: a numbered list with instruction, input and output, to be continued.

    Args:
        examples: the tasks that it begins with.
        total: how many tasks the list has in the end, with these.
        language: of the prompt and of the tasks.
    """
    field = _FIELDS[language]
    lines = []
    for number, example in enumerate(examples, start=1):
        instruction = _one_line(example.instruction).rstrip(":：")
        lines += ["###", f"{number}. {field['instruction']}{field['colon']}{instruction}"]
        lines += [f"{number}. {field['input']}{field['colon'].rstrip()}", example.input or NO_INPUT[language]]
        if example.output:
            lines += [f"{number}. {field['output']}{field['colon'].rstrip()}", example.output]
    return _fill(
        _NUMBERED[language],
        total=str(total),
        given=str(len(examples)),
        first=str(len(examples) + 1),
        noinput=NO_INPUT[language],
        list="\n".join([*lines, "###"]),
    )


# --- the recipe of Self-Instruct ------------------------------------------------------------------------------------

_LISTED: dict[Language, str] = {
    "en": (
        "Think of a series of different tasks. The list begins below; go on with it from number {first} to number "
        "{last}, one task a line, in English, and write nothing else.\n\n{list}"
    ),
    "zh": (
        "请想出一系列各不相同的任务。清单的开头如下，请从第 {first} 个接着写到第 {last} 个，每行一个任务，用简体中文，"
        "不要写别的。\n\n{list}"
    ),
}
_CLASSES: dict[Language, str] = {
    "en": """\
Is the answer to a task one of a few fixed labels, so that it is a classification?

Task: Say whether the customer is pleased or annoyed.
Classification: Yes
Task: Thank a neighbour for watering your plants.
Classification: No
Task: Which of these four words does not belong with the others? Give its number.
Classification: Yes
Task: Turn the notes into a short report.
Classification: No
Task: Is the argument below valid?
Classification: Yes
Task: Find the name of the city in the sentence.
Classification: No

Answer Yes or No.

Task: {task}
Classification:""",
    "zh": """\
一个任务的答案如果总是少数几个固定标签之一，它就是分类任务。

任务：说说这位顾客是满意还是生气。
分类任务：是
任务：感谢邻居帮你浇花。
分类任务：否
任务：这四个词里哪一个和其他的不是一类？写出它的序号。
分类任务：是
任务：把这些笔记整理成一份简短的报告。
分类任务：否
任务：下面的论证是否成立？
分类任务：是
任务：找出句子里的城市名。
分类任务：否

请只回答“是”或“否”。

任务：{task}
分类任务：""",
}
YES_NO: dict[Language, tuple[str, str]] = {"en": ("Yes", "No"), "zh": ("是", "否")}

_INPUT_FIRST: dict[Language, str] = {
    "en": """\
Write examples for the task: up to {most} of them, each with an input and the output that is right for it. A task that \
needs no input has one example, with an output only.

Task: Shorten the sentence without losing what it says.
Example 1
Input: Due to the fact that it was raining, we made the decision to stay inside the house.
Output: Because of the rain we stayed inside.
Example 2
Input: She is a person who is always in a hurry when the morning comes.
Output: She is always in a hurry in the morning.

Task: Name two reasons for walking to work.
Example 1
Output: It keeps you fit, and it costs nothing.

Task: {task}""",
    "zh": """\
请为任务写出例子：最多 {most} 个，每个例子有一个输入和对应的正确输出。不需要输入的任务只写一个例子，只有输出。

任务：在不丢失内容的前提下缩短句子。
例子 1
输入：由于外面正在下雨的缘故，我们最后做出了留在家里的决定。
输出：因为下雨，我们留在了家里。
例子 2
输入：她这个人一到早上的时候总是匆匆忙忙的。
输出：她早上总是匆匆忙忙。

任务：说出步行上班的两个理由。
例子 1
输出：既能锻炼身体，又不花钱。

任务：{task}""",
}
_LABEL_FIRST: dict[Language, str] = {
    "en": """\
For each class label of the classification task, write an input for which that label is right. Where the task needs no \
input, write the possible labels only.

Task: Say whether the message is urgent or can wait.
Class label: urgent
Input: Water is coming through the ceiling of room 4, please send somebody now.
Class label: can wait
Input: The clock in the hall is two minutes slow.

Task: Is the statement a fact or an opinion?
Class label: opinion
Input: Autumn is the most beautiful season.
Class label: fact
Input: Autumn comes after summer.

Task: {task}""",
    "zh": """\
请针对分类任务的每个类别标签，写一个以该标签为正确答案的输入。如果任务不需要输入，只写出可能的标签。

任务：判断这条消息是紧急还是可以稍后处理。
类别标签：紧急
输入：四号房间的天花板正在漏水，请马上派人来。
类别标签：可以稍后处理
输入：大厅里的钟慢了两分钟。

任务：这个说法是事实还是观点？
类别标签：观点
输入：秋天是最美的季节。
类别标签：事实
输入：秋天在夏天之后到来。

任务：{task}""",
}


def render_listed(examples: Sequence[Example], count: int, language: Language) -> str:
    """The prompt of Self-Instruct's recipe: a numbered list of instructions, to be continued.

    >>> print(render_listed([Example("Name a river: ")], 2, "en").partition("\\n\\n")[2])
    1. Name a river
    """
    lines = [f"{number}. {_one_line(each.instruction).rstrip(':：')}" for number, each in enumerate(examples, start=1)]
    first = len(examples) + 1
    return _fill(_LISTED[language], first=str(first), last=str(first + count - 1), list="\n".join(lines))


def render_is_classification(instruction: str, language: Language) -> str:
    """The prompt that asks whether a task is a classification; its answers are `YES_NO`."""
    return _fill(_CLASSES[language], task=_one_line(instruction))


def render_instances(instruction: str, most: int, language: Language, *, classification: bool) -> str:
    """The prompt for examples of a task: the input first, or for a classification, the label first.

    Args:
        instruction: the task.
        most: how many examples there may be, where the input comes first.
        language: of the task.
        classification: whether it is one.
    """
    template = _LABEL_FIRST if classification else _INPUT_FIRST
    return _fill(template[language], most=str(most), task=_one_line(instruction))


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
    wanted = _fill(_LABEL[language], label=label) if label else ""
    return _fill(_INPUT[language], label=wanted, task=instruction)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


_PLACE = re.compile(r"\{([a-z]+)\}")


def _fill(template: str, **values: str) -> str:
    """Puts values into a template, in one go: neither the JSON around them nor braces within them are places."""
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), template)
