"""The task names what no text is or does, by the words that Self-Instruct leaves out: images, graphs, files, maps."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check

__all__ = ["blacklist_self_instruct", "ENGLISH", "CHINESE", "english_words"]

# self_instruct/bootstrap_instructions.py of yizhongw/self-instruct at 0b26ccaa, as words of any case.
ENGLISH = (
    *("image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps"),
    *("draw", "plot", "go to"),
)
# What those words are in Chinese, where no space tells a word from a part of another one: no single character stands
# here without what makes it this word. Left out is what only the English word means, too: a story's plot, a mapping,
# drawing a conclusion, and 画 for a painting, which the English list has not.
CHINESE = (
    r"图[片像画]|照片|插图|[张幅]图(?!书)|(?<![例假比诸])如图(?=所示|中|\d|[，,])"
    r"|图表|(?:曲线|折线|统计|条形|柱[状形]|饼状?|扇形|直方|散点)图"
    r"|(?<!法律)(?<!政策)(?<!证明)文件(?![夹名])"
    r"|地图(?!集)|导图"
    r"|绘[制图]|[作画]图|画画|(?<![刻勾描])画出"
    # A numeral or a measure word makes 画 a verb, unless it ends a noun (漫画, 油画, 名画, 这幅画).
    r"|(?<![动漫油国版壁绘名墨幅张的])画[一两三几]?[张幅只条座朵棵个匹位些]"
    r"|^(?:请你?)?(?:帮我|给我)?画(?![家展面蛇龙饼作廊卷像风室册院师派坛质笔地])"
    r"|^(?:请你?|帮我)?去(?![除掉年世哪皮污])|前往|转到|(?:打开|进入|访问|登录)[^，。；：？！\n]{0,8}(?:网站|网页|网址|链接|页面)"
)


def english_words(listed: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern that finds any of these as whole words, whatever their case.

    >>> english_words(("map",)).search("A Map of Rome."), english_words(("map",)).search("Maple syrup.")
    (<re.Match object; span=(2, 5), match='Map'>, None)
    """
    return re.compile(rf"\b(?:{'|'.join(listed)})\b", re.IGNORECASE)


_LISTED = {"en": english_words(ENGLISH), "zh": re.compile(CHINESE)}


@check("info", Sample("Describe what is in this picture.", "", "A dog."), of="task", optional=True)
def blacklist_self_instruct(sample: Sample) -> str | None:
    """Fails an instruction with a word of Self-Instruct's list, or with its counterpart in Chinese.

    >>> blacklist_self_instruct(Sample("List the files that Git ignores.", "", ""))
    "names 'files'"
    >>> blacklist_self_instruct(Sample("用铅笔画一只猫。", "", "", language="zh"))
    "names '画一只'"
    >>> blacklist_self_instruct(Sample("介绍一下漫画的历史，并说说图书馆的计划。", "", "", language="zh")) is None
    True
    """
    found = _LISTED[sample.language].search(sample.instruction.strip())
    return None if found is None else f"names {found[0]!r}"
