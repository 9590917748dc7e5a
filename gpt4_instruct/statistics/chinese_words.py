"""The words and tags that the rules of `chinese_pairs` go by; the tags are jieba's."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Clauses: what stands in one that is polite only, and what opens one that is not the main one.
POLITE = _words("抱歉 对不起 不好意思 您好 你好 恭喜 谢谢 尊敬 亲爱 欢迎")
SUBORDINATE = _words(
    "由于 因为 因 如果 若 若要 要 假如 当 虽然 尽管 为了 随着 根据 基于 针对 作为 除了 无论 不管 既然 对于 关于"
)

# Verbs: those that help the one behind them, and which of those may be the main one; what is no verb; the kinds with
# rules of their own.
HELPING = _words(
    "可以 可 能 能够 才能 会 不会 我会 应该 应 应当 需要 需 要 想 想要 必须 可能 希望 愿意 无法 不能 请 来 去 用来 以供"
    " 没有 没 未 能否 可否 是否 开始 继续 正在 将会 旨在 总能 即将 尝试 试图 打算 准备 有助于 用于 让"
)
NEEDS = _words("需要 需 要 想 想要 希望 请 没有 没 用于 让")
NO_VERBS = _words("例如 比如 如 像 如同 原始 可 所需 有关 相关 到")  # jieba says that they are
COPULA = _words("是 就是 都是 不是 即 称为 名为 叫做")
PUT = _words("把 将")
CAUSING = _words("让 使 帮助 要求 允许 鼓励 建议 邀请 引导")
TELLING = _words("确定 知道 认为 发现 表示 建议 希望 确保 相信 觉得 说明 看到 了解 表明 显示 看 意味着 注意")
ASPECT = _words("了 着 过 到 出 出来 成 一下 上 下")  # between a verb and its object

# What follows a subject that holds a verb, and a phrase with a preposition.
AFTER_A_SUBJECT = _words("可以 能 能够 会 应该 有助于 有 需要 是 可能 无法 不能 如下")
AFTER_A_PHRASE = _words("来 可以 能 能够 会 需要 应该 时 后 前 中 上 里 下 内 之间 方面 以")

# Nouns and what stands with them.
NOUNS_UNKNOWN_TO_JIEBA = _words("机器学习 深度学习 强化学习 迁移学习 增强现实 虚拟现实 知识 摘要")
PRONOUNS = _words("我 你 您 他 她 它")  # jieba takes some for other things
OF = frozenset(("uj", "ude1"))
NOUNS = ("n", "nz", "nl", "ng", "vn", "an", "nw")
NAMES = ("nr", "nrt", "nrfg", "ns", "nt", "eng")
DESCRIBING = _words("a ad ag b c d f h i j k l m mq q r s t tg ul uv uz x z zg")
