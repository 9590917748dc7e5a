r"""A text shows escapes where characters should be: ``\n``, ``\u4e2d``, ``&amp;``."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import CODE, code_task, excerpt

__all__ = ["literal_escapes"]

_ESCAPE = re.compile(
    r"\\[nrt](?![a-z]{2})|\\n(?=[A-Z\d])|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}"
    r"|&(?:nbsp|amp|lt|gt|quot|apos|ldquo|rdquo|mdash|hellip|#\d{2,5}|#x[0-9a-fA-F]{2,4});|<br\s*/?>"
)
# In a formula, \nu and \tau are letters; a path may hold \n, too.
_NOT_PROSE = re.compile(
    r"\\(?:frac|times|text|sqrt|left|right|begin|cdot|theta|sum|int|to|neq|nabla)\b|\\[(\[]"
    r"|\b[A-Z]:\\"
)
_TAG = re.compile(r"<\w[^<>]*+>")
_END_TAG = re.compile(r"</\w+>")
_ABOUT = re.compile(
    r"escap|newline|line break|entit|markup|encod|decod|unicode|forum|换行|转义|实体|列出\\|\\n", re.IGNORECASE
)


@check("warning", Sample("Write two lines.", "", "First line.\\nSecond line."))
def literal_escapes(sample: Sample) -> str | None:
    r"""Fails a row with an escape outside of code, in a task that is not about code.

    >>> literal_escapes(Sample("Write two lines.", "", "First line.\\nSecond line."))
    "the output shows '\\n' as it is written: 'First line.\\nSecond line.'"
    >>> literal_escapes(Sample("Print a newline in C.", "", r"printf('\n');")) is None
    True
    """
    for name in ("instruction", "input", "output"):
        text = getattr(sample, name)
        if "\\" not in text and "&" not in text and "<br" not in text:
            continue
        text = CODE.sub(" ", text)
        found = _ESCAPE.search(text)
        if found is None or _NOT_PROSE.search(text) or _markup(text):
            continue
        if code_task(sample.instruction) or _ABOUT.search(sample.instruction):
            return None
        around = excerpt(text[max(0, found.start() - 25) : found.end() + 25])
        return f"the {name} shows '{found[0]}' as it is written: '{around}'"
    return None


def _markup(text: str) -> bool:
    """Whether a tag is opened and, anywhere behind it, one is closed."""
    tag = _TAG.search(text)
    return tag is not None and _END_TAG.search(text, tag.end()) is not None
