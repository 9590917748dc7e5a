"""The task asks for an act in the world, or the answer says that it was done: "I have sent the e-mail"."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import asks_to_write, code_task, excerpt

__all__ = ["physical_task"]

_ASKED = re.compile(
    r"^\W*(?:please |can you |could you |i want you to |i need you to |help me )?(?:"
    r"(?:book|reserve)\s+(?:me\s+)?(?:an?|the|two|some|my|your)\b(?! (?:report|review))"
    r"|(?:buy|purchase|pick up|deliver)\s+(?:me\s+|us\s+)?(?:an?|the|some|\d)\b|order\s+(?:me\s+)?(?:an?|some|two"
    r"|three|four|five|\d+)\s+\w+"
    r"|(?:call|phone|ring|text)\s+(?:my|the|a|an|your|mom|dad|\d)\b(?! function| method| api)"
    r"|send\s+(?:an?|the|this|my|me|him|her|them)\b(?! (?:\w+ )?(?:polite|friendly|kind|gentle|formal|short|brief|warm"
    r"|thank-you|heartfelt|sincere|professional)\b)|(?:e-?mail|mail)\s+(?:my|the|this|him|her|them|me)\b"
    r"|set\s+(?:an?|the|my|up an?)\s+(?:\w+\s+)?(?:alarm|timer|reminder|thermostat|appointment|meeting)\b|remind me\b"
    r"|wake me\b"
    r"|turn (?:on|off|up|down) the\b|switch (?:on|off)\b|(?:play|pause|skip)\s+(?:the|a|some|this|my)\s+(?:song|music"
    r"|video|movie|next|playlist|game)\b"
    r"|(?:schedule|cancel|arrange|make)\s+(?:an?|the|my)\s+(?:\w+\s+){0,2}(?:appointment|reservation|meeting"
    r"|phone call|call|booking)\b(?! (?:polic|form\b|system|checklist|list|template|page|website|app\b|rules|guide"
    r"|agenda|minutes|confirmation|letter|message|notes))"
    r"|go to\s+(?:the|a|your|my)\b|(?:take|walk)\s+(?:the|a|my)\s+(?:dog|walk|trash|garbage|photo|picture|selfie)\b"
    r"|(?:clean|wash|vacuum|mow|fix|repair|water)\s+(?:the|my|your)\s+(?!data|text|sentence|code|following|grammar"
    r"|spelling|punctuation|errors?|mistakes?|paragraph|word|bug|query|table|list|json|error)\w+"
    r"|cut\b[^.]{0,40}\bout of (?:a piece of )?paper|bring me\b|hand me\b|give me the \w+ on the\b"
    r"|(?:cook|bake)\s+(?:me\s+)?(?:an?|the|some|my)\b|(?:open|close|lock|unlock)\s+(?:the|my)\s+(?:door|window"
    r"|garage|app|browser)\b"
    r"|(?:navigate|drive|fly)\s+to\b|(?:download|upload|install)\s+(?:an?|the|this|my)\b"
    r"|post (?:this|an?|the)\s+.{0,30}\bon (?:facebook|twitter|instagram|my)\b|pay (?:my|the)\b|withdraw\b"
    r"|sign up for\b|log ?in to\b"
    r"|(?:conduct|carry out|run|perform|do)\s+(?:an?|the)\s+(?:\w+\s+){0,3}?(?:survey|interview|poll|workout"
    r"|field study)\b"
    r")",
    re.IGNORECASE | re.ASCII,
)
_ZH_ASKED = re.compile(
    r"^\W*(?:请)?(?:帮我|为我|给我|替我)?(?:"
    r"(?:预订|预定|订购?)[^。，]{0,12}(?:票|酒店|房间|餐厅|座位|外卖)|叫我(?:起床|醒)|[早晚][上点][^。，]{0,6}叫我|(?:预订|预定|订)(?:一|两|个|张|机票|酒店|房间|餐厅"
    r"|座位|位|票|去|从)|(?:购买|买|下单|点)[一两几]?[个份张件杯本]|(?:打电话|致电|拨打)"
    r"|(?:发送|寄|发)(?:一|这|封|条|邮件|短信|给)|设置?(?:一)?个?[^。，]{0,6}(?:闹钟|提醒|定时器)|提醒我|叫醒我|(?:打开|关闭|关掉)(?:灯|门|窗|电视|空调|客厅|卧室)"
    r"|(?:给|向)[^，。]{1,10}(?:发送|发|寄|打)(?:一)?[封条个]?(?:邮件|电子邮件|短信|消息|电话)|需要一[杯份张辆瓶]|来一[杯份]"
    r"|(?:现在)?(?:请)?把[^，。]{1,10}(?:拿|给我|递给我|打开|关上|关掉|扔|倒掉|搬|放到|带来|送到|发给|寄给|转发)|安排[^，。]{1,14}的?(?:会议|约会|面试|旅行"
    r"|行程)[。.!！]?$"
    r"|播放|(?:安排|取消|预约)(?:一|个|我的)[^。，]{0,8}(?:会议|预约|约会|电话)|去(?:超市|商店|银行|邮局)|遛狗|(?:打扫|清洗|修理)(?:房间|厨房|我的)"
    r"|(?:下载|上传|安装)(?:一|这|该|以下)|支付|(?:进行|做|开展)(?:一)?[次项个][^。，]{0,8}(?:采访|调查|访谈|问卷调查|实地)"
    r")"
)
_DONE = re.compile(
    r"\b(?:i have|i've|i just|i already)\s+(?:just |already |now |successfully )?(?:sent|booked|ordered|purchased"
    r"|bought|called|phoned|e-?mailed"
    r"|scheduled|turned (?:on|off)|uploaded|downloaded|installed|deleted|posted|reserved|delivered|cooked|cleaned|paid"
    r"|set (?:an?|the|your|up (?:an?|the|your)) \w*\s?(?:alarm|reminder|timer|appointment|meeting)|placed (?:an|the"
    r"|your) order)\b"
    r"|\b(?:e-?mail|message|order|alarm|reminder|reservation|appointment|meeting|payment) (?:has been|was"
    r"|is) (?:successfully )?(?:sent|placed|set|made|booked|scheduled|confirmed)\b"
    r"|(?:已为您|已经为您|已帮您)(?:成功)?(?:发送|预订|订|购买|下单|安排|设置|打开|关闭|取消|预约)|(?:邮件|短信|订单|闹钟)已(?:经)?(?:成功)?(?:发送|提交|设置|设好)"
    r"|我(?:已经?|刚刚?)(?:成功)?(?:为您|帮您|替您|给您|为你|帮你|给你)?(?:发送|预订|订好|购买|下单|打电话|安排|设置|打开|关闭|上传|下载|安装|删除|支付)了?",
    re.IGNORECASE | re.ASCII,
)
# "Send an e-mail to your boss" may ask for its text; these ask for words in any case.
_WORDS = re.compile(
    r"\b(?:how|why|what|steps|instructions|explain|describe|list|write|draft|compose|recipe|code|function|tips"
    r"|process|ways?|plan|script|role|simulate|pretend)\b"
    r"|如何|怎么|步骤|解释|描述|列|写|撰|起草|食谱|代码|方法|过程|计划|模拟|扮演|编|假设|说明",
    re.IGNORECASE | re.ASCII,
)
# "Can you cook an egg by sunlight?" asks whether one can; an order put as a question is for somebody.
_WHETHER = re.compile(
    r"^\W*(?:can|could) you (?:cook|bake|buy|purchase|fly|drive|wash|clean|mow|fix|repair|water|take|walk|download"
    r"|install)\b(?!.*\b(?:me|my|us|please)\b).*\?\s*$",
    re.IGNORECASE | re.ASCII,
)
# In somebody's voice, who did it.
_AS_SOMEBODY = re.compile(
    r"^\W*as (?:an?|the) \w+(?: \w+){0,3},|\bconfirm\w*\b|\bpretend\b|\bimagine\b|\bact as\b|\byou are (?:an?|the)\b"
    r"|^\W*作为|确认|假装|想象",
    re.IGNORECASE | re.ASCII,
)


@check("warning", Sample("Book a table for two tonight.", "", "I have booked a table for two at 7 pm."))
def physical_task(sample: Sample) -> str | None:
    """Fails a task that no text can do, and an answer that claims an act.

    >>> physical_task(Sample("Set an alarm for 7 am.", "", "Done."))
    "asks for an act: 'Set an alarm'"
    >>> physical_task(Sample("Tell my boss that I am ill.", "", "I've sent her an email."))
    "claims an act: I've sent"
    >>> physical_task(Sample("Write an email to my landlord.", "", "I have sent the rent today.")) is None
    True
    """
    asked = _ASKED.search(sample.instruction) or _ZH_ASKED.search(sample.instruction)
    in_words = _WORDS.search(sample.instruction) or _WHETHER.search(sample.instruction)
    if asked is not None and not in_words and not code_task(sample.instruction):
        return f"asks for an act: {excerpt(asked[0])!r}"
    done = _DONE.search(sample.output[:1000])
    if done is None or asks_to_write(sample.instruction) or _AS_SOMEBODY.search(sample.instruction):
        return None
    if code_task(sample.instruction):
        return None
    if done[0].lower() in f"{sample.instruction} {sample.input}".lower():
        return None
    return f"claims an act: {excerpt(done[0])}"
