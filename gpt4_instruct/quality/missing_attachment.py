"""The task needs what the row does not hold: a page behind an address, an attached file, "the following article"."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import asks_to_write, code_task, excerpt

__all__ = ["missing_attachment"]

_URL = re.compile(r"https?://[^\s)>\]，。]+|\bwww\.[^\s)>\]，。]+", re.IGNORECASE | re.ASCII)
_READ = re.compile(
    r"\b(?:summar\w+|read|analy[sz]\w*|review|extract|translate|visit|check|watch|listen|describe|paraphrase|rewrite"
    r"|edit"
    r"|find|identify|classify|explain|based on|according to|using|from|use|look|article|page|video|post)\b"
    r"|总结|概括|摘要|阅读|分析|提取|翻译|访问|查看|观看|描述|改写|根据|文章|网页|视频",
    re.IGNORECASE | re.ASCII,
)
# Tasks about the address itself.
_ABOUT_URL = re.compile(
    r"\b(?:urls?|uri|domains?|hyperlink|shorten|valid|parse|encode|decode|cite|citation|html|https?|request|scrap\w+"
    r"|crawl\w*)\b"
    r"|网址|域名|引用|爬",
    re.IGNORECASE | re.ASCII,
)
_THING = (
    r"(?:articles?|texts?|passages?|paragraphs?|sentences?|poems?|stor(?:y|ies)|documents?|essays?|excerpts?|lists?"
    r"|table|data(?: ?sets?)?|code|snippet|function|program|e-?mails?|letter|dialogues?|conversation|reviews?|images?"
    r"|pictures?|photos?|graph|chart|audio|video|file|words?|numbers?|phrases?|equations?|recipe|statements?|tweets?"
    r"|quote"
    r"|lyrics|song|speech|report|resume|websites?|web ?pages?|scene|json|html|html document|query|paper|blog post"
    r"|news article|input|quotation|array|scenario|figures|recordings?)"
)
_GIVEN = re.compile(
    r"\b(?:the|this|these|those)\s+(?:following|given|attached|provided|below|above"
    rf"|enclosed)\s+(?:[\w'-]+\s+){{0,3}}?{_THING}\b"
    rf"|\b(?:the|this|these)\s+(?:[\w'-]+\s+){{0,2}}?{_THING}\s+(?:below|above|attached|provided|given)\b"
    rf"|(?<!\ba )(?<!\ban )(?<!\bany )(?<!\bany )\b(?:given|attached|following)\s+{_THING}\b"
    r"|\bfrom the list of \w+,|\b(?:in|see|find) the attached\b",
    re.IGNORECASE | re.ASCII,
)
_ZH_THING = (
    r"(?:文章|文本|段落|句子|诗歌?|故事|文档|短文|论文|列表|清单|表格|数据集?|代码|函数|程序|邮件|信件|对话|评论|图片|图像|照片|图表"
    r"|音频|视频|文件|单词|词语?|数字|短语|方程式?|食谱|陈述|语句|推文|引文|歌词|演讲|报告|简历|新闻|内容|材料|数组|字符串|文字|话|名单|输入|段话|图案|场景|画|漫画|标志|网站|网页|曲谱|情境"
    r"|gif图|观点|论点|作文|录音)"
)
_ZH_GIVEN = re.compile(
    r"(?:以下|下面|下列|如下|给定|所给|给出的|[所您你]提供|提供的|上述|上面|附件中?|附上|附带"
    rf"|随附)的?(?:[一这那]?[篇段个句张组首份])?(?:[^，。：:,.\s]{{0,6}}?){_ZH_THING}"
    rf"|(?:这|此|该|本)(?!个?数字)(?:个|篇|段|句|张|首|份|幅|组|条|部)?{_ZH_THING}|附件|附图|如图所?示?"
    r"|(?:提供|编写|写出?|生成)(?:文档|文章|文本|段落|短文)的?(?:摘要|总结|概要)"
)
# What may stand for the thing in the instruction itself: a colon, a quotation, or more lines.
_HELD = re.compile(r"[:：]\s*\S|[\"“”'‘「『《《\[({（]\s*\S|\n\s*\S|\d\s*[,，、]\s*-?\d|=|[`]")
_ENDS_OPEN = re.compile(
    r"(?:following|below|以下|下面|如下|下列|给定)[^.。?？!！]{0,60}[:：]\s*$", re.IGNORECASE | re.ASCII
)
# A colon before a question is none before a text.
_ASKS_BEHIND = re.compile(r"[:：][^:：\n]{5,120}[?？]\s*$")
_FILE = re.compile(r"\S+\.(?:jpe?g|png|gif|pdf|docx?|xlsx?|mp3|mp4|wav|csv|txt)", re.IGNORECASE)
_SAYS_NONE = re.compile(
    r"<(?:image|video|audio|file|attachment)[^<>]*>|\[(?:image|video|audio|file|attachment|图片)[^\[\]]*\]", re.I
)


@check("warning", Sample("Summarize the following article.", "", "The article is about…"), of="task")
def missing_attachment(sample: Sample) -> str | None:
    """Fails a task about a page, a file or a text that stands nowhere in the row.

    >>> missing_attachment(Sample("Summarize this article.", "https://example.org/news/1", ""))
    'needs what is at https://example.org/news/1'
    >>> missing_attachment(Sample("总结以下文章。", "", ""))
    "needs '以下文章', which is not there"
    >>> missing_attachment(Sample("Correct the following sentence: He go home.", "", "")) is None
    True
    """
    task = f"{sample.instruction}\n{sample.input}"
    address = _URL.search(task) if "http" in task or "www." in task else None
    if address is not None:
        rest = _URL.sub(" ", sample.input).strip()
        about = _ABOUT_URL.search(_URL.sub(" ", sample.instruction)) or code_task(sample.instruction)
        if len(rest) < 80 and not about and _READ.search(sample.instruction):
            return f"needs what is at {excerpt(address[0], 80)}"
        return None
    marked = _SAYS_NONE.search(sample.input)
    if marked is not None and len(sample.input.strip()) < 2 * len(marked[0]) + 20:
        return f"needs {excerpt(marked[0])!r}, which is not there"
    if _FILE.fullmatch(sample.input.strip()) and not code_task(sample.instruction):
        return f"needs the file {excerpt(sample.input.strip())!r}, which is not there"
    if sample.input.strip():
        return None
    if _ENDS_OPEN.search(sample.instruction):
        return f"needs what should follow {excerpt(sample.instruction[-40:])!r}"
    if code_task(sample.instruction):  # "a function that sorts the given list"
        return None
    for pattern in (_GIVEN, _ZH_GIVEN):
        given = pattern.search(sample.instruction)
        if given is not None:
            if given[0] in {"附件", "附件中"} and asks_to_write(sample.instruction):
                return None
            # Without the spaces at an end, a pattern for something behind spaces finds it at once, or nothing.
            before, behind = sample.instruction[: given.start()].rstrip(), sample.instruction[given.end() :].rstrip()
            if (_HELD.search(behind) and not _ASKS_BEHIND.search(behind)) or _HELD.search(before):
                return None
            # A text may also follow, or stand before, as sentences of its own.
            around = re.split(r"[.!?。！？]\s*", sample.instruction)
            if sum(len(each) for each in around if given[0] not in each) > 30:
                return None
            return f"needs {excerpt(given[0])!r}, which is not there"
    return None
