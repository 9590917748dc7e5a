"""The task asks to make, show or perceive a picture, a sound or a film, which a text cannot."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["media_asked"]

_PICTURE = (
    r"(?:images?|pictures?|photos?|photographs?|drawings?|illustrations?|paintings?|sketch(?:es)?|posters?"
    r"|infographics?|logos?"
    r"|icons?|cartoons?|comics?|comic strips?|memes?|collages?|wallpapers?|screenshots?|diagrams?|flow ?charts?"
    r"|bar charts?"
    r"|pie charts?|charts?|graphs?|mind ?maps?|word clouds?|visuals?|visuali[sz]ations?|graphics?|storyboards?"
    r"|floor plans?|mood ?boards?|banners?|flyers?)"
)
_FILM = r"(?:videos?|animations?|gifs?|clips?|audio(?: recordings?| files?| clips?)?|recordings?|sound clips?)"
_MAKE = (
    r"(?:draw|sketch|paint|create|make|generate|design|produce|show|display|insert|add|upload|take|edit|crop|build"
    r"|construct|provide|render|visuali[sz]e|find)"
)
_ASKED = re.compile(
    rf"\b{_MAKE}\b\s+(?:me\s+|us\s+)?(?:[\w'-]+\s+){{0,5}}?{_PICTURE}\b"
    r"|\b(?:draw|sketch|paint|illustrate|doodle)\s+(?:me\s+)?(?:an?|the|some|your|this|two|three|what)\b"
    r"|\b(?:record|film|sing|compose|play|edit|shoot|produce|create|make|generate|upload)\s+(?:me\s+)?(?:an?|the|some"
    r"|this|your|me)\s+"
    r"(?:[\w'-]+\s+){0,3}?(?:videos?|animations?|gifs?|audio|melody|tune|recording|voice recording|piece of music"
    r"|musical piece|soundtrack|jingle|podcast episode)\b"
    r"|\b(?:in|on|of|about) (?:this|the attached|the following) (?:photo|picture|image|video|clip|recording|drawing"
    r"|painting)\b"
    r"|\b(?:listen to|watch) (?:the|this) (?:following |attached )?(?:recording|audio|video|clip|song|podcast)\b"
    r"|\b(?:describe|caption|analy[sz]e|identify|label|classify|interpret|look at|watch|listen to|recogni[sz]e"
    r"|transcribe|what is in|what's in)\b"
    rf"[^.\n]{{0,30}}?\b(?:this|the following|the given|the attached|these|given|attached|following)\s+(?:{_PICTURE}"
    rf"|{_FILM})\b",
    re.IGNORECASE | re.ASCII,
)
_A_TEXT = 8  # characters
_ZH_MEDIA = (
    r"(?:图片|图像|照片|插图|插画|海报|视频|音频|动画|标志|徽标|图标|图表|柱状图|饼图|折线图|条形图|示意图|流程图|思维导图|漫画|素描|信息图|词云|录音|短片|表情包|画像|肖像|地图|logo|LOGO"
    r"|Logo)"
)
_ZH_ASKED = re.compile(
    rf"(?:画|绘制|绘画|制作|设计|生成|创建|创作|拍摄|拍|录制|插入|上传|剪辑|展示|显示|构建|构造|添加|提供)(?:出|了|并)?[^。，,\n]{{0,14}}?{_ZH_MEDIA}"
    r"|(?:^|[，。,请])\s*(?:画|绘制|描绘|绘)(?:出|一)?[一两三几]?[幅张个只条座朵棵位]"
    r"|(?:播放|演奏|唱|录制)[一这]?[首段个]"
    rf"|(?:描述|分析|识别|观看|观察|听|说明|解释|看|标注)[^。，,\n]{{0,8}}?(?:这|该|以下|下面|给定|所给|附件)(?:的)?(?:一)?[张幅段个]?(?:的)?{_ZH_MEDIA}"
    r"|(?:听|看)一?[下遍]?(?:这|以下)[段首个]?(?:录音|音频|视频|音乐)|(?:这|该|以下|下面|给定)的?[张幅](?:画|漫画|图|照片|图片)|(?:这|该|以下|下面)(?:的|个)?(?:gif"
    r"|GIF)?(?:标志|标识|图片|照片|动图|gif图|视频|图)(?:展示|显示"
    r"|代表|表示|中|里|是|的)"
)
# A title, a script or a list for it, or code that draws it, is text.
_TEXT = re.compile(
    r"\b(?:html|css|svg|ascii|code|python|matplotlib|javascript|function|program|script|caption|title|name|idea|list"
    r"|outline|plan|slogan"
    r"|tagline|description|headline|lyrics|text|prompt|steps|instructions|how to|explain|game|conclusions?|comparison"
    r"|parallels?|attention"
    r"|inspiration|inferences?|lines? between|query|algorithm|latex|markdown|table|essay|story|poem|sentence"
    r"|paragraph|quote|article"
    r"|words? to|review|concept|strategy|storyline|summary|class|using words|mental picture"
    r"|word pictures?|(?:picture|painting) in words"
    r"|images? (?:of|under) [^.\n]{1,40}\bunder|f\("
    r"|picture of (?:the )?(?:life|world)|questions?|social media|analogy"
    r"|data structure|knowledge graph|graph (?:theory|traversal)|sql)\b"
    r"|代码|程序|函数|标题|名称|名字|字幕|文案|脚本|剧本|步骤|描述性|歌词|口号|创意|想法|清单|列表|大纲|计划|游戏|故事|诗|结论|启示|文字|评论|文本|段落|文章|剧情|提纲|类比|类|简介|关键词|单词",
    re.IGNORECASE | re.ASCII,
)
# A question why or how is none; but one about "this picture" is.
_QUESTION = re.compile(r"^\W*(?:why|how)\b|^\W*(?:请问)?(?:为什么|为何|如何|怎么|怎样)", re.IGNORECASE | re.ASCII)
_SHOWN = re.compile(r"\b(?:this|these|attached|given|following)\b|这|该|以下|下面|附件", re.IGNORECASE | re.ASCII)


@check("warning", Sample("Draw a picture of a cat.", "", "Here is a cat: …"), of="task")
def media_asked(sample: Sample) -> str | None:
    """Fails a task whose answer, or whose subject, is no text.

    >>> media_asked(Sample("画一只猫。", "", "好的。"))
    "asks for what is no text: '画一只'"
    >>> media_asked(Sample("Create a caption for this picture of a dog.", "", "")) is None
    True
    >>> media_asked(Sample("Draw a conclusion.", "All men are mortal.", "")) is None
    True
    """
    asked = _ASKED.search(sample.instruction) or _ZH_ASKED.search(_before_text(sample.instruction))
    if asked is None or _TEXT.search(sample.instruction):
        return None
    if _QUESTION.search(sample.instruction) and not _SHOWN.search(asked[0]):
        return None
    return f"asks for what is no text: {excerpt(asked[0].strip('，。,请 '))!r}"


def _before_text(instruction: str) -> str:
    """What stands before a colon; nothing, if a text about the picture stands behind it: then there is one in words."""
    before, colon, behind = re.sub("[:：]", "：", instruction).partition("：")
    return "" if colon and len(behind.strip()) >= _A_TEXT and "张" in before else before
