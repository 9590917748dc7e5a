"""The answer was cut off at the token limit.

Where it is known how an answer ended (``finish_reason``), that decides. The released files do not say it; there, the
end of the text is looked at: an answer that ends in the middle of a word, a sentence, a list or a code block is
reported, one that only lacks its full stop is not.
"""

from __future__ import annotations

import re

from gpt4_instruct.languages import chinese_share
from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import code_task, excerpt

__all__ = ["truncated"]

_ENDS = tuple(".!?。！？…~～\"”'’」』》)）]】}>`*_$|;；%℃°—–-:=\\/")
_GOES_ON = re.compile(r"[,，、(（\[【“‘「『《&+]$|[:：]$")
# Behind a comma or a colon, a letter's closing words or a question's blank may rightly end a text.
_CLOSING = re.compile(
    r"(?:regards|sincerely|truly|faithfully|love|best|yours|respectfully|thanks|thank you|cheers|wishes|cordially|you"
    r"|敬上|此致|祝好|谢谢|敬礼)\W*$",
    re.IGNORECASE,
)
_BARE_MARK = re.compile(r"\d{1,3}[.)、．]\s*\**|[-•+]")
_LIST_ITEM = re.compile(r"^\s*(?:\d{1,3}[.)、．:：]|[-*•+·]|[（(]?[a-zA-Z一二三四五六七八九十]{1,2}[.)）、])\s*")
# Words that no English or Chinese sentence ends with.
_NO_LAST_WORD = re.compile(
    r"(?:^|[\s(])(?:the|an?|of|and|or|to|with|from|by|as|that|which|is|are|was|were|be|their|your|his|its|our|my|for"
    r"|than|because|into|such|while|when|if|but|at|on|in)$"
    r"|(?:以及|并且|而且|或者|和|与|及|或|在|对于|由于|因为|通过|使|为了|例如|比如|包括|可以|能够|以|并|将|被|把|从|向|其|是|而|但|如|这些|一个|一种)$",
    re.IGNORECASE,
)
_LONG = {"en": 400, "zh": 180}  # characters; a shorter answer without a full stop is a title, a name, a slogan
_SHORT_LINE = {"en": 40, "zh": 16}
_FEWEST_WORDS, _FEWEST_HAN = 3, 6  # of a list's last item, that it may be cut off


@check("error", Sample("Count.", "", "one, two, thr", finish_reason="length"))
def truncated(sample: Sample) -> str | None:
    """Fails an answer that stops before its end: by ``finish_reason`` where that is known, else by its last words.

    >>> truncated(Sample("Count.", "", "one, two, thr", finish_reason="length"))
    'cut off at the token limit after 13 characters'
    >>> truncated(Sample("Give reasons.", "", "1. It is cheap.\\n2. It is quick.\\n3."))
    "ends in an empty list item: '1. It is cheap. 2. It is quick. 3.'"
    >>> truncated(Sample("Name a colour.", "", "Blue")) is None
    True
    """
    if sample.finish_reason == "length":
        return f"cut off at the token limit after {len(sample.output)} characters"
    if sample.finish_reason:
        return None
    text = sample.output.rstrip()
    tail = text[-40:]
    if text.count("```") % 2:
        return f"ends inside a code block: {excerpt(tail)!r}"
    _, above, last = text.rpartition("\n")
    last = last.strip()
    if above and _BARE_MARK.fullmatch(last):
        return f"ends in an empty list item: {excerpt(tail)!r}"
    if not text or (code_task(sample.instruction) and _CODE_LINE.search(text.rsplit("\n", 1)[-1])):
        return None
    if _GOES_ON.search(text):
        short = len(text) < 60 or (text[-1] in ":：" and len(last) < 80 and "\n" in text and text.count("\n") < 3)
        if text[-1] in ",，" and _CLOSING.search(last):
            return None
        asks_blank = re.search(
            r"\b(?:complete|continue|fill|begin|start|subject|poem|salutation)\w*\b|续|填|开头|诗|补全",
            sample.instruction,
            re.I,
        )
        return None if short or asks_blank or _verse(text) else f"ends before it is finished: {excerpt(tail)!r}"
    if text.endswith(_ENDS) or not (text[-1].isalnum()):
        return None
    if _NO_LAST_WORD.search(text) and len(text) > 60 and not _verse(text):
        return f"ends in the middle of a sentence: {excerpt(tail)!r}"
    share = chinese_share(text) or 0.0
    language = "zh" if share > 0.5 else "en"
    if _breaks_off(text, last):
        return f"ends in the middle of a sentence: {excerpt(tail)!r}"
    if len(text) < _LONG[language] or len(last) < _SHORT_LINE[language] // 2 or _unpunctuated(text, language):
        return None
    return f"ends in the middle of a sentence: {excerpt(tail)!r}"


_CODE_LINE = re.compile(r"[;{}()=<>\[\]]|^\s{2,}\S|^(?:end|fi|done|pass|break|return\b.*)$")


def _verse(text: str) -> bool:
    """Whether most lines are short and end without a full stop, as in a poem, an address or a table."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < 3:
        return False
    return sum(len(line) < 70 and not line.endswith(tuple(".!?。！？")) for line in lines) > 0.6 * len(lines)


def _breaks_off(text: str, last: str) -> bool:
    """Whether the last line holds whole sentences before words without an end, or its list's other items all end."""
    if _LIST_ITEM.match(last):
        items = [line.strip() for line in text.splitlines() if _LIST_ITEM.match(line)][:-1]
        own = _LIST_ITEM.sub("", last)
        if len(own) < _FEWEST_HAN if chinese_share(own) else len(own.split()) < _FEWEST_WORDS:
            return False  # "4. Enjoy" is whole
        return len(items) >= 3 and all(item.endswith((".", "。", "!", "！", "?", "？", ";", "；")) for item in items)
    whole = re.search(r"(?:[a-z)][.!?] (?=[A-Z])|[。！？])[^.!?。！？]*$", last)
    if whole is None or whole.start() < 15:
        return False
    rest = last[whole.start() + 1 :].strip()
    end = rest[-50:]  # a word's length: a pattern with an end is tried from each place before it
    return (
        len(rest) >= 4
        and not ("http://" in rest or "https://" in rest or re.search(r"\d$|[A-Z]\w*$", end))
        and bool(re.match(r"[A-Z\u4e00-\u9fff]", rest))
    )


def _unpunctuated(text: str, language: str) -> bool:
    """Whether the last line's fellows end without a full stop, too, so that it need not have one.

    An item's fellows are the other items of its list; another line's are those of its length.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last, others = lines[-1], lines[:-1]
    if _LIST_ITEM.match(last):
        fellows = [line for line in others if _LIST_ITEM.match(line)]
    elif len(last) < _SHORT_LINE[language]:
        fellows = others[-2:]
    else:
        fellows = [line for line in others if len(line) > len(last) // 2]
    bare = sum(not line.endswith(_ENDS) for line in fellows)
    return bool(fellows) and bare * 3 >= len(fellows)
