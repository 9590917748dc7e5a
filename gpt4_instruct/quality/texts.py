"""What several checks need to see in a text: its code, its essence without case and punctuation, a short quotation."""

from __future__ import annotations

import hashlib
import re

__all__ = ["CODE", "asks_to_write", "code_task", "digest", "essence", "excerpt", "names_a_language", "prose"]

# Fenced and inline code, formulas and addresses.
CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|\$\$.*?\$\$|\$[^$\n]+\$|https?://\S+", re.DOTALL)
_FENCED = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|https?://\S+", re.DOTALL)
# Everywhere re.ASCII, or \b would find no boundary between a Han character and "SQL".
_CODE_TASK = re.compile(
    r"\b(?:code|function|program|script|sql|html|css|xml|json|python|java|javascript|typescript|php|ruby|perl|rust"
    r"|regex"
    r"|regular expression|query|latex|shell|bash|linux|command|compiler?|string|algorithm|c\+\+|c#|\.net|api"
    r"|markdown)\b"
    r"|代码|函数|编程|程序|脚本|查询语句|查询|正则|表达式|公式|方程|网页|算法|命令|字符串|编码|标签|\b(?:SQL|HTML|CSS|JSON)",
    re.IGNORECASE | re.ASCII,
)
_WRITE = re.compile(
    r"\b(?:write|compose|draft|create|generate|story|e-?mail|letter|dialog(?:ue)?|conversation|speech|poem|essay|script"
    r"|scene|role|rewrite|reply|respond|response|message|translate|example|sentence|post|tweet|note|memo"
    r"|announcement)\b"
    r"|写|撰|起草|编|创作|生成|故事|邮件|信|对话|演讲|诗|作文|剧本|扮演|改写|回复|消息|翻译|例|句|帖子|通知",
    re.IGNORECASE | re.ASCII,
)
_NAMES_A_LANGUAGE = re.compile(
    r"\b(?:translat\w*|languages?|english|chinese|mandarin|cantonese|japanese|korean|french|german|spanish|italian"
    r"|portuguese"
    r"|dutch|russian|arabic|hindi|latin|greek|turkish|vietnamese|polish|swedish|kanji|pinyin|hanzi|romaji|bilingual"
    r"|foreign)\b"
    r"|翻译|译成|译为|译文|语言|英文|英语|中文|法语|德语|西班牙语|日语|韩语|俄语|意大利语|葡萄牙语|拉丁语|阿拉伯语|外语|双语",
    re.IGNORECASE | re.ASCII,
)
_NOT_ESSENCE = re.compile(r"[\W_]+")


def prose(text: str) -> str:
    """The text without its code and addresses.

    >>> prose("Run `x = 1` now.")
    'Run   now.'
    """
    return _FENCED.sub(" ", text) if "`" in text or "://" in text else text


def code_task(text: str) -> bool:
    """Whether a task is about code or markup, so that odd characters are part of it."""
    return bool(_CODE_TASK.search(text))


def names_a_language(task: str) -> bool:
    """Whether a task is about a language, so that its answer may be in another one than the task."""
    return bool(_NAMES_A_LANGUAGE.search(task))


def asks_to_write(instruction: str) -> bool:
    """Whether a task asks for a text in somebody's voice, so that its "I" need not be the model."""
    return bool(_WRITE.search(instruction))


def essence(text: str) -> str:
    """The text's letters and digits, lower case: what is the same in two texts that differ in form only.

    >>> essence("Say, 'Hi'!") == essence("say hi")
    True
    """
    return _NOT_ESSENCE.sub(" ", text.casefold()).strip()


def digest(*texts: str) -> bytes:
    """16 bytes that stand for some texts, whatever their length."""
    hashed = hashlib.blake2b(digest_size=16)
    for text in texts:
        hashed.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return hashed.digest()


def excerpt(text: str, most: int = 60) -> str:
    """The text in one line of at most so many characters.

    >>> excerpt("a\\n\\nb"), excerpt("x" * 99, 5)
    ('a b', 'xxxx…')
    """
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
