"""Every prompt the package sends or trains on, and how the replies to them are read.

Only the Alpaca pair is not ours: tuned models depend on it byte for byte
(tatsu-lab/stanford_alpaca @ 761dc5bf, train.py, PROMPT_DICT).
"""

from __future__ import annotations

import json
import re
from typing import Any

from gpt4_instruct.records import Language, well_formed

__all__ = [
    "ALPACA",
    "ALPACA_NO_INPUT",
    "MARKERS",
    "SCORES",
    "TRANSLATION_SCHEMA",
    "alpaca_chat_template",
    "is_alpaca",
    "read_choice",
    "read_score",
    "read_translation",
    "render_alpaca",
    "render_chinese",
    "render_score",
    "render_translation",
]

ALPACA = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
ALPACA_NO_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)

# To a teacher that answers in Chinese: the task, and which language is wanted. (What a tuned model is trained on is the
# Alpaca pair, in both languages.)
_CHINESE_REQUEST = "（请用简体中文作答，除非任务要求的是代码或别的语言。）"

# What only a prompt holds: an answer with one of these repeats what it was asked instead of answering.
MARKERS = ("### Instruction:", "### Response:", "请用简体中文作答", "[End of answer]")

_TRANSLATION = """\
Translate the task below from English into natural, fluent Simplified Chinese. Translate the task itself; do not \
carry it out. Keep code, formulas, names of variables and text that the task is about in another language as they \
are. Reply with one JSON object and nothing else, with two keys: "instruction" and "input". Leave "input" an empty \
string when the task has no input.

{task}"""

# The other way, for pairs of tasks in both languages.
_TRANSLATION_INTO_ENGLISH = """\
Translate the task below from Chinese into natural, fluent English. Translate the task itself; do not carry it out. \
Keep code, formulas, names of variables and text that the task is about in another language as they are. Reply with \
one JSON object and nothing else, with two keys: "instruction" and "input". Leave "input" an empty string when the \
task has no input.

{task}"""

TRANSLATION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"instruction": {"type": "string"}, "input": {"type": "string"}},
    "required": ["instruction", "input"],
    "additionalProperties": False,
}

_SCORE = """\
You are grading an answer to a task. Weigh how helpful the answer is, how relevant to the task, how accurate, and how \
detailed. Give one overall score from 1 (useless or wrong) to 10 (could hardly be better).

[Task]
{task}

[Answer]
{response}

[End of answer]

Write the score, a whole number from 1 to 10, alone on the first line. You may explain it briefly from the second \
line on."""

SCORES: tuple[str, ...] = tuple(str(score) for score in range(1, 11))


def render_alpaca(instruction: str, input: str = "") -> str:
    """The Alpaca prompt for a task, with or without an input.

    >>> render_alpaca("Say hi.").endswith("### Instruction:\\nSay hi.\\n\\n### Response:")
    True
    """
    # str.replace, not str.format: instructions are full of braces.
    if not input:
        return ALPACA_NO_INPUT.replace("{instruction}", instruction)
    before, after = ALPACA.split("{input}")
    return before.replace("{instruction}", instruction) + input + after


def is_alpaca(prompt: str) -> bool:
    """Whether a prompt is already rendered in the Alpaca format.

    >>> is_alpaca(render_alpaca("Say hi.", "Loudly.")), is_alpaca("Say hi.")
    (True, False)
    """
    return prompt.startswith("Below is an instruction that describes a task") and prompt.endswith("### Response:")


def alpaca_chat_template(*, begins: bool, space: bool = False) -> str:
    """The Alpaca prompt as a Jinja chat template, so that a tuned model is asked in the form it was tuned in.

    The last question is rendered byte for byte as `render_alpaca` does: with an input where its message has the key
    ``input`` beside ``content``. A message that is such a prompt already stays as it is. Earlier turns stand before it
    in the same form, under one introduction; a system message stands before that. (Alpaca itself knows one turn only.)
    A message's content may be a list of parts, of which those of the type ``text`` count, joined as they are; no
    content is an empty one.

    Args:
        begins: whether the tokenizer begins a text with its ``bos_token``; templates must write that themselves.
        space: writes a space before the first word. Some tokenizers read one there by themselves, but only in a text
            that begins with the word, and not behind a ``bos_token``.
    """
    introduction = ALPACA_NO_INPUT.split("### Instruction:", maxsplit=1)[0]
    with_input = ALPACA.split("### Instruction:", maxsplit=1)[0]
    pieces = {
        "BEGIN": ("{{- bos_token -}}" if begins else "") + ("{{- ' ' -}}" if space else ""),
        "BEFORE": json.dumps(introduction),
        "BEFORE_INPUT": json.dumps(with_input),
    }
    template = _CHAT_TEMPLATE
    for name, piece in pieces.items():
        template = template.replace(f"<{name}>", piece)
    return template


# Newlines are written as "\n" in strings, for those of the template itself are trimmed by some renderers and not by
# others.
_CHAT_TEMPLATE = """\
<BEGIN>
{%- set ns = namespace(introduced=false, content='') -%}
{%- for message in messages -%}
{%- set ns.content = '' -%}
{%- if message['content'] is string -%}
{%- set ns.content = message['content'] -%}
{%- elif message['content'] -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'text' -%}
{%- set ns.content = ns.content + part['text'] -%}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- set content = ns.content -%}
{%- if message['role'] == 'system' -%}
{{- content + '\\n\\n' -}}
{%- elif message['role'] == 'user' -%}
{%- if content.startswith('Below is an instruction that describes a task') and content.endswith('### Response:') -%}
{{- content -}}
{%- else -%}
{%- if not ns.introduced -%}
{{- <BEFORE_INPUT> if message['input'] else <BEFORE> -}}
{%- endif -%}
{{- '### Instruction:\\n' + content -}}
{%- if message['input'] -%}
{{- '\\n\\n### Input:\\n' + message['input'] -}}
{%- endif -%}
{{- '\\n\\n### Response:' -}}
{%- endif -%}
{%- set ns.introduced = true -%}
{%- else -%}
{{- content + eos_token -}}
{%- if not loop.last -%}
{{- '\\n\\n' -}}
{%- endif -%}
{%- endif -%}
{%- endfor -%}
"""


def render_chinese(instruction: str, input: str = "") -> str:
    """The prompt that asks a teacher to do a Chinese task in Chinese.

    >>> print(render_chinese("把这句话改成问句。", "他会来。"))
    把这句话改成问句。
    <BLANKLINE>
    他会来。
    <BLANKLINE>
    （请用简体中文作答，除非任务要求的是代码或别的语言。）
    """
    task = f"{instruction}\n\n{input}" if input else instruction
    return f"{task}\n\n{_CHINESE_REQUEST}"


def render_translation(instruction: str, input: str = "", into: Language = "zh") -> str:
    """The prompt that asks for a task's translation into Chinese, or from Chinese, as `TRANSLATION_SCHEMA`."""
    task = json.dumps({"instruction": instruction, "input": input}, ensure_ascii=False, indent=1)
    return (_TRANSLATION if into == "zh" else _TRANSLATION_INTO_ENGLISH).replace("{task}", task)


def render_score(task: str, response: str) -> str:
    """The prompt that asks for a score of one answer.

    Args:
        task: the task as the answering model saw it, without the Alpaca wrapping.
        response: the answer to be scored.
    """
    before, after = _SCORE.split("{response}")
    return before.replace("{task}", task) + response + after


# --- reading the replies --------------------------------------------------------------------------------------------


def _json_object(text: str, wanted: str) -> dict[str, Any] | None:
    """The JSON object with the key `wanted` in a reply, alone, in a code fence or between other words; or none."""
    decode = json.JSONDecoder(strict=False).raw_decode  # models write raw newlines into strings
    for brace in re.finditer(r"\{", text):
        try:
            found, _ = decode(text, brace.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and wanted in found:
            return found
    return None


def read_choice(text: str, choices: tuple[str, ...]) -> str:
    """Unwraps a structured answer ``{"answer": "7"}`` to ``7``; any other text comes back as it is.

    >>> read_choice('{"answer": "7"}', SCORES), read_choice("7\\nGood.", SCORES)
    ('7', '7\\nGood.')
    """
    found = _json_object(text, "answer") if text.lstrip().startswith("{") else None
    value = found["answer"] if found is not None and len(found) == 1 else None
    return str(value) if isinstance(value, str | int) and str(value) in choices else text


_NUMBER = r"(?P<score>\d{1,3})(?:\.0+)?"
_OUT_OF_TEN = r"\s*(?:/\s*10|out\s+of\s+(?:10|ten)|points?|分)"
_LABEL = r"(?:(?:overall|final|total|the|my|answer|综合|最终|总体)\s*)*(?:score|rating|grade|评分|得分|分数|打分)"
# What makes a number something else: a fraction, a range, another scale, a percentage.
_NOT_MORE = r"(?!\**\s*(?:[-/–—~%½¼¾]|to\b|or\b|out\s+of\b|[或到至])|[.,]?\d)"
# A first line that holds the score and nothing else: "7", "**Score: 7/10**", "评分：8分。"
_ALONE = re.compile(
    rf"[^\w-]*(?:{_LABEL}\s*(?:is|of|为|是)?[^\w-]*)?{_NUMBER}\**(?:{_OUT_OF_TEN})?[^\w%]*", re.IGNORECASE
)
# Elsewhere a number counts only when it says what it is.
_NAMED = re.compile(
    rf"{_LABEL}\s*(?:is|of|为|是)?[\s:：*]*{_NUMBER}(?:\**{_OUT_OF_TEN})?{_NOT_MORE}"
    rf"|(?<![\d./-])(?P<over>\d{{1,3}})(?:\.0+)?\**\s*(?:/\s*10|out\s+of\s+(?:10|ten)){_NOT_MORE}",
    re.IGNORECASE,
)


def read_score(text: str) -> int | None:
    """The whole score from 1 to 10 in a reply to `render_score`; none when there is none or two that differ.

    A score is never guessed: a fraction, a number out of range or a list's "1." is no score.

    >>> [read_score(reply) for reply in ("8", "Score: 9/10\\nClear and right.", "评分：7分", "I say 6 out of 10.")]
    [8, 9, 7, 6]
    >>> [read_score(reply) for reply in ("", "8.5", "11", "1. It is helpful.", "between 6/10 and 8/10", "-3")]
    [None, None, None, None, None, None]
    """
    stripped = text.strip()
    first = stripped.split("\n", 1)[0]
    alone = _ALONE.fullmatch(first)
    found = {alone["score"]} if alone else {match["score"] or match["over"] for match in _NAMED.finditer(stripped)}
    if len(found) != 1:
        return None
    score = found.pop()
    return int(score) if score in SCORES else None


_LABELLED = re.compile(
    r"\s*(?:\*\*)?(?:instruction|指令|任务)(?:\*\*)?\s*[:：](?:\*\*)?(?P<instruction>.*?)"
    r"(?:\n\s*(?:\*\*)?(?:input|输入|材料)(?:\*\*)?\s*[:：](?:\*\*)?(?P<input>.*))?",
    re.IGNORECASE | re.DOTALL,
)


def read_translation(text: str) -> tuple[str, str] | None:
    """The (instruction, input) in a reply to `render_translation`; none when it cannot be told which is which.

    >>> read_translation('```json\\n{"instruction": "写一首诗。", "input": ""}\\n```')
    ('写一首诗。', '')
    >>> read_translation("指令：改正这句话。\\n输入：他们是学生们。")
    ('改正这句话。', '他们是学生们。')
    >>> read_translation("写一首诗。") is None
    True
    """
    found = _json_object(text, "instruction")
    if found is not None:
        instruction, input = found["instruction"], found.get("input") or ""
    else:
        labelled = _LABELLED.fullmatch(text.strip())
        instruction, input = (labelled["instruction"], labelled["input"] or "") if labelled else (None, "")
    if not isinstance(instruction, str) or not isinstance(input, str) or not instruction.strip():
        return None
    return well_formed(instruction).strip(), well_formed(input).strip()
