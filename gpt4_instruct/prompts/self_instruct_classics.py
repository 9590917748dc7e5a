"""The prompts of the classic recipes, Alpaca's and Self-Instruct's: their structure, in words of ours.

What stands in which order, the numbers and the names of the fields are as in the sources (tatsu-lab/stanford_alpaca @
761dc5bf, prompt.txt and generate_instruction.py; yizhongw/self-instruct @ 0b26ccaa, self_instruct/templates and
bootstrap_instructions.py), in English and in Chinese. `self_instruct_replies` reads what comes back.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpt4_instruct.prompts.self_instruct import FIELDS, Example, fill, one_line
from gpt4_instruct.records import Language

__all__ = [
    "NO_INPUT",
    "YES_NO",
    "render_instances",
    "render_is_classification",
    "render_listed",
    "render_numbered",
]

# What stands where a numbered task has no input: English as in tatsu-lab/stanford_alpaca @ 761dc5bf, prompt.txt.
NO_INPUT: dict[Language, str] = {"en": "<noinput>", "zh": "<无输入>"}

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
    field = FIELDS[language]
    lines = []
    for number, example in enumerate(examples, start=1):
        instruction = one_line(example.instruction).rstrip(":：")
        lines += ["###", f"{number}. {field['instruction']}{field['colon']}{instruction}"]
        lines += [f"{number}. {field['input']}{field['colon'].rstrip()}", example.input or NO_INPUT[language]]
        if example.output:
            lines += [f"{number}. {field['output']}{field['colon'].rstrip()}", example.output]
    return fill(
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
    lines = [f"{number}. {one_line(each.instruction).rstrip(':：')}" for number, each in enumerate(examples, start=1)]
    first = len(examples) + 1
    return fill(_LISTED[language], first=str(first), last=str(first + count - 1), list="\n".join(lines))


def render_is_classification(instruction: str, language: Language) -> str:
    """The prompt that asks whether a task is a classification; its answers are `YES_NO`."""
    return fill(_CLASSES[language], task=one_line(instruction))


def render_instances(instruction: str, most: int, language: Language, *, classification: bool) -> str:
    """The prompt for examples of a task: the input first, or for a classification, the label first.

    Args:
        instruction: the task.
        most: how many examples there may be, where the input comes first.
        language: of the task.
        classification: whether it is one.
    """
    template = _LABEL_FIRST if classification else _INPUT_FIRST
    return fill(template[language], most=str(most), task=one_line(instruction))
