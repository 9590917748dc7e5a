"""The answer declines the task instead of doing it.

The phrases are those that open a refusal in the released GPT-4 data and their Chinese counterparts; only the first
sentences are read, since an answer may well quote such a phrase later on.
"""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check

__all__ = ["refusal"]

_OPENING_CHARACTERS = 200
_AI = r"(?:AI|artificial intelligence|(?:large )?language model)"
_CANNOT = r"(?:can(?:'|no)t|can not|am not|am unable|do(?:n't| not)|don't|lack|have no|am just|am only)"
# What a model says it cannot do; "I can't make it to your party" is no refusal.
_DO = (
    r"(?:assist|help|provide|fulfil|comply|generate|create|produce|access|do that|complete|answer|view|see|browse|open"
    r"|determine|retrieve|perform|process|play|draw|show|display|analy[sz]e|summari[sz]e|translate|make (?:\w+ )?calls?"
    r"|send|offer|give (?:\w+ )?(?:advice|information|you)|predict|foresee|recommend|write|fulfill)"
)
_ZH_AI = r"(?:[^，。,\n]{0,6}?AI|人工智能|(?:大型?)?语言模型|文本机器人|聊天机器人)"
_ZH_CANNOT = r"(?:无法|不能|没有|不具备|并不|不会|不可以|没办法|不可能)"
_ZH_DO = (
    r"(?:提供|协助|帮助|帮您|帮你|为您|完成|回答|执行|访问|查看|生成|满足|处理|浏览|确定|给出|直接|理解|识别|播放|绘制|画"
    r"|打开|获取|查询|分析|总结|翻译|创建|判断|预测|概括|给出|拨打|发送|联系|看|选|归类|建议|评价|评分|比较|拿)"
)
_ZH_SORRY = r"(?:您好\W*|我?(?:很|非常)?(?:抱歉|对不起|遗憾|不好意思)\W*)*"
# Every refusal below holds one of these; looking for them first makes the check ten times faster.
_HINTS = (
    *(" ai", "artificial", "language model", "sorry", "i can", "i am", "i'm", "you ", "possible", "i do", "i won"),
    *("familiar", "作为", "我是", "我只是", "抱歉", "对不起", "遗憾", "我无法", "我不能", "你", "您", "不好意思"),
    *("恕", "没有办法", "没办法"),
)
_REFUSAL = re.compile(
    rf"\bas an? {_AI}[^.\n]{{0,40}}?,? (?:i|it) [^.\n]{{0,30}}?{_CANNOT}\b"
    rf"|^\W*(?:i(?:'m| am) (?:so |very |really )?sorry[,.]? (?:but )?)?i(?:'m| am) (?:just |only )?an? {_AI}\b"
    rf"|(?<![\"“‘])\bi(?:'m| am) (?:so |very |really )?sorry[,.]? (?:but )?(?:as an? {_AI}"
    rf"|i (?:can(?:'|no)t|won't|will not|am (?:not able|unable) to) {_DO}|i do(?: not|n't) have (?:access|the ability"
    r"|enough|real))"
    r"|^\W*(?:unfortunately,? |i(?:'m| am) (?:sorry|afraid),? |sorry,? )?(?:but )?(?:that )?"
    r"i (?:do not|don't) have (?:enough|sufficient|access to|the ability)"
    rf"|^\W*(?:unfortunately,? |i apologi[sz]e,? but )?"
    rf"i(?: can(?:'|no)t| won't| will not|(?:'m| am) (?:not able|unable) to|(?:'m| am) not programmed to) {_DO}"
    r"|^\W*unfortunately,? i(?:'m| am) not (?:familiar with|aware of)"
    rf"|(?<![你您])作为(?:一[个名款])?\s*{_ZH_AI}[^。\n]{{0,24}}?{_ZH_CANNOT}"
    rf"|^\W*(?:由于|因为)?我(?:只)?是(?:一?[个名款])\s*{_ZH_AI}[^。\n]{{0,24}}?{_ZH_CANNOT}"
    rf"|(?:抱歉|对不起|遗憾)[^。\n]{{0,16}}?{_ZH_AI}[^。\n]{{0,24}}?{_ZH_CANNOT}"
    rf"|(?:抱歉|对不起|遗憾)[，,。！!]?\s*(?:但是?)?[，,]?\s*我(?:无法|不能|没有办法|没办法|不可以)\s*{_ZH_DO}"
    rf"|^\W*(?:您好\W*)?我(?:无法|不能|没有办法|没办法){_ZH_DO}|[，。]我(?:没有办法|没办法){_ZH_DO}|恕(?:我)?(?:难|无法|不能){_ZH_DO}"
    rf"|^\W*{_ZH_SORRY}[^。\n]{{0,30}}我不(?:会|能|可以){_ZH_DO}"
    # What it needs is not in the task, so that nothing is done.
    rf"|^\W*{_ZH_SORRY}(?:由于|因为|但是?)?[你您](?:并)?(?:没有|未|还没有?)(?:为我|向我)?(?:给|提供|告诉|指定|说明|附)"
    rf"|^\W*{_ZH_SORRY}(?:请|麻烦)?[你您](?:需要|必须)?(?:先)?提供(?:一|更多|具体|完整|相关)"
    rf"|^\W*(?:很)?(?:抱歉|对不起)[^。\n]{{0,40}}(?:无法|不能)(?:准确)?{_ZH_DO}"
    r"|^\W*(?:i'm sorry,? |i am sorry,? |sorry,? )?(?:but |unfortunately,? )?(?:it (?:seems|looks|appears)(?: like"
    r"| that)? )?"
    r"you (?:haven't|have not|didn't|did not|forgot to) (?:provided?|given?|specif(?:y|ied)|included?|attach(?:ed)?"
    r"|mention(?:ed)?)"
    r"|^\W*(?:sorry,? )?(?:but )?it(?: is|'s|) (?:im|not |isn't )possible (?:for me )?to (?:\w+ly )?(?:predict"
    r"|foresee|determine|say"
    r"|answer|provide|identify|know|tell)"
    r"|\bi(?:'m| am) (?:just |only )?an? AI (?:language model|assistant|model)[^.\n]{0,20} (?:can(?:'|no)t|unable)",
    re.IGNORECASE,
)

# Texts in which somebody else declines: a task that asks for one of these, on such an occasion.
_IN_A_VOICE = re.compile(
    r"\b(?:write|draft|compose|create|craft|send|give|make|generate|prepare|say)\b[^.\n]{0,60}?\b(?:messages?|e-?mails?"
    r"|letters?|repl(?:y|ies)|responses?|notes?|dialog(?:ue)?s?|conversations?|scenes?|chats?|voicemail)\b"
    r"|^\W*(?:please )?(?:reply|respond|answer|apologi[sz]e|decline)\b|\brole-?play|\bplay the (?:role|part)\b"
    r"|\bact as\b|\bpretend (?:to be|that you|you)\b|\bcustomer (?:service|support|care)\b"
    r"|消息|短信|邮件|[回书封件谢]信|信件|回复|答复|对话|场景|扮演|角色|客服|便条|留言|请假条|道歉|婉拒",
    re.IGNORECASE | re.ASCII,
)
_OCCASION = re.compile(
    r"\b(?:declin|refus|reject|cannot|can(?:'|’)t|unable|not able|apolog|sorry|turn(?:ing)? down|refund|complain"
    r"|customers?|clients?|guests?|cancel|regret)"
    r"|拒|谢绝|婉|推辞|无法|不能|歉|退款|退货|投诉|客服|顾客|客户|取消|请假",
    re.IGNORECASE | re.ASCII,
)
# What only the model says, in whatever voice it was asked to write.
_OWN_VOICE = re.compile(
    rf"\b{_AI}\b|{_ZH_AI}|(?:assist|help|comply|do) (?:you )?with (?:that|this|such)|(?:this|that|your) (?:request"
    r"|task)|do(?: not|n't) have (?:enough|sufficient|access|the ability)"
    r"|you (?:haven't|have not|didn't|did not|forgot)"
    r"|这个请求|[你您](?:并)?(?:没有|未)",
    re.IGNORECASE,
)


@check("error", Sample("Draw a cat.", "", "I'm sorry, but I cannot draw."))
def refusal(sample: Sample) -> str | None:
    """Fails an answer that opens by declining, in English or Chinese, or that the endpoint's filter withheld.

    >>> refusal(Sample("Draw a cat.", "", "I'm sorry, but I cannot draw."))
    "declines: I'm sorry, but I cannot draw"
    >>> refusal(Sample("画一只猫。", "", "很抱歉，我无法画画。", language="zh"))
    'declines: 很抱歉，我无法画'
    >>> refusal(Sample("Apologise to a friend.", "", "I'm sorry I was late.")) is None
    True
    >>> refusal(Sample("Write a customer a message.", "", "I'm sorry, I cannot offer a refund.")) is None
    True
    """
    if sample.finish_reason == "content_filter":
        return "withheld by the endpoint's content filter"
    opening = sample.output[:_OPENING_CHARACTERS].replace("’", "'")
    lower = opening.lower()
    if not any(hint in lower for hint in _HINTS):
        return None
    found = _REFUSAL.search(opening)
    if found and _of_somebody(sample.instruction) and not _OWN_VOICE.search(opening):
        return None
    return f"declines: {found[0].strip()}" if found else None


def _of_somebody(task: str) -> bool:
    """Whether a task asks for words in which somebody may well decline, as a shop to a customer."""
    return _IN_A_VOICE.search(task) is not None and _OCCASION.search(task) is not None
