"""Code is asked for and the answer holds none."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["missing_code"]

_LANGUAGE = (
    r"(?:python|java|javascript|typescript|c\+\+|c#|\bc\b|ruby|php|perl|rust|golang|swift|kotlin|scala|matlab|sql"
    r"|mysql|html5?"
    r"|css|bash|shell|powershell|regex|xml|json|latex|jquery|react|node\.js|pandas|numpy|django|flask)"
)
_MAKE = (
    r"(?:write|create|generate|implement|build|develop|code|construct|provide|give me|produce|compose|come up with"
    r"|design|make)"
)
_CODE = (
    r"(?:(?:code|program|script|function|class|method|query|expression|statement|snippet|page|command|loop"
    r"|app(?:lication)?)\b"
    rf"[^.\n]{{0,40}}\b(?:in|using|with|for)\s+{_LANGUAGE}"
    rf"|{_LANGUAGE}\s+(?:code|program|script|function|class|method|query|expression|statement|snippet|page|command"
    r"|loop|module|app)"
    r"|(?:a |some |the )?(?:source )?code\b(?! of| word| name)(?:[^.\n]{0,12}\b(?:to|that|for|snippet|which)\b)"
    r"|(?:a |the )?function (?:that|to|which|called|named)\b"
    r"|(?:a |the )?(?:regular expression|regex)\b"
    r"|an? (?:sql |database )?query (?:to|that|for|which)\b|an? (?:computer )?program (?:that|to|which)\b)"
)
_ASKED = re.compile(
    rf"\b(?:implement|code|program)\b[^.\n]{{1,40}}\b(?:in|using) {_LANGUAGE}(?!\w)"
    rf"|\b{_MAKE}\b[^.\n]{{0,25}}?\b{_CODE}",
    re.IGNORECASE | re.ASCII,
)
_ZH_LANGUAGE = r"(?:Python|JavaScript|Java|C\+\+|C#|C|SQL|HTML|CSS|PHP|Ruby|Bash|Shell|R|Go|Matlab|正则|伪)"
_ZH_ASKED = re.compile(
    rf"(?:写|编写|创建|实现|生成|构建|构造|开发|设计|给出|提供|编程)[^。\n]{{0,16}}?"
    rf"(?:{_ZH_LANGUAGE}\s*(?:语言)?[^。，\n]{{0,8}}?(?:代码|函数|程序|脚本|查询|表达式|语句|类|片段|命令|页面|网页)"
    r"|(?<![密编解])代码|函数|(?<![动礼式议])(?:电脑|计算机)?程序(?=[，来以计，。]|$)|正则表达式|SQL|查询语句)"
    rf"|用\s*{_ZH_LANGUAGE}\s*(?:语言)?[^。\n]{{0,10}}(?:写|编写|实现|编程|计算|打印)",
    re.IGNORECASE | re.ASCII,
)
# A function of biology, a programme of the party, a script for the stage; or the task is to explain code.
_NOT_ASKED = re.compile(
    r"\b(?:play|movie|film|television|tv|training|exercise|workout|fitness|loyalty|radio|dress code|code of conduct"
    r"|documentation"
    r"|pseudo-?code|steps|story|wedding|party|event|podcast|explain|describe|name for|title|test cases?|algorithm to"
    r"|poem)\b"
    r"|解释|描述|说明|名称|标题|健身|训练|电视|话剧|电影|剧本|行为守则|测试用例|步骤|文档|宣传|诗",
    re.IGNORECASE | re.ASCII,
)
# What only code has: a fence, a call or an assignment, a tag, a statement's end, SQL, a formula of a sheet, a pattern.
_IS_CODE = re.compile(
    r"```|`[^`\n]+`|\w\([^()\n]{0,200}\)|^[ \t]*(?:def|class|import|from|for|while|if|return|print|function|var|let"
    r"|const|public"
    r"|#include)\b"
    r"|[;{}][ \t]*$|<\/?\w[^<>\n]{0,200}>|==|!=|\+=|=>|->|\w\s*=\s*[\w\"'\[({]|\b(?:SELECT|INSERT|UPDATE|DELETE|CREATE"
    r"|ALTER)\b\s+\S"
    r"|[\\^$\[\]][\w\\^\[][^\n]{0,80}[*+\]$]|^[ \t]*[$>#!/]\S|^=\w+|\b[a-z]+ -{1,2}\w|\{\s*\"",
    re.MULTILINE,
)


@check("warning", Sample("Write a Python function that adds two numbers.", "", "You add them with the plus sign."))
def missing_code(sample: Sample) -> str | None:
    """Fails an answer without code to a task that asks for some.

    >>> missing_code(Sample("用 Python 编写一个加法函数。", "", "把两个数相加即可。"))
    "asks for code ('用 Python 编写') and gets none"
    >>> missing_code(Sample("Write an SQL query to list all users.", "", "SELECT * FROM users")) is None
    True
    >>> missing_code(Sample("Create a training program for runners.", "", "Run.")) is None
    True
    """
    asked = _ASKED.search(sample.instruction) or _ZH_ASKED.search(sample.instruction)
    if asked is None or _NOT_ASKED.search(sample.instruction) or not sample.output.strip():
        return None
    return None if _IS_CODE.search(sample.output) else f"asks for code ({excerpt(asked[0], 40)!r}) and gets none"
