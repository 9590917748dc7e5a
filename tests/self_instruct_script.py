"""A scripted teacher for Self-Instruct: it answers every prompt of the split by the prompt alone, and knows its ideas.

It has so many ideas, each a sentence in English and one in Chinese. Two ideas have little in common; the same idea comes
again word for word or with a word more, and now and then what it writes is no task at all.
"""

from __future__ import annotations

import json
import random
import re

from gpt4_instruct.prompts import self_instruct as own
from gpt4_instruct.prompts import self_instruct_classics as classics
from gpt4_instruct.prompts.tasks import render_translation

__all__ = ["JUNK", "Inventor"]

_VERBS = "Describe Compare Explain List Invent Rewrite Summarize Rank Define Criticize Sort Name Outline Prove".split()  # noqa: SIM905
_WORDS = """
apple anchor arrow autumn badge baker barrel basket beach bell bench berry blanket bottle branch brick bridge broom bucket
butter button cabin camel candle canyon carpet castle cave cellar chain chair cheese cherry circus clock cloud coin copper
coral cotton cradle crane crown curtain daisy desert diamond donkey dragon drum eagle engine falcon farmer feather fence
ferry fiddle flame flute forest fountain garden ghost glacier glove goose grain guitar hammer harbour harvest hill honey
horse island jacket jewel jungle kettle kitchen ladder lake lantern lemon letter lighthouse lion lizard magnet maple marble
market meadow mirror monk mountain mushroom needle nest notebook oak ocean onion orchard otter owl palace paper parrot pearl
pepper piano pigeon pillow planet plough pocket pond potato prince puzzle queen rabbit railway rainbow raven ribbon river
robin rocket rope saddle sailor salmon school shadow shepherd silver skeleton snow soldier spider spoon stable statue stone
storm sugar summer swallow table tailor temple thunder tiger timber tower tractor train tunnel turtle valley velvet village
violin wagon wallet walnut water weasel whale wheat wheel whistle window winter wizard wolf wood yard zebra
""".split()  # noqa: SIM905
_HAN = "山水火木土石田禾竹米豆花草树鸟鱼虫马牛羊犬猫鼠虎龙蛇车船门窗桌椅床灯书笔纸墨刀剑弓箭衣帽鞋袜茶酒饭菜盐糖油醋春夏秋冬风雨雷电云雪霜露日月星辰东西南北红黄蓝绿黑白紫灰金银铜铁锡父母兄弟姐妹师友医农工商军警"
# Tasks that the filters of both classic recipes leave out, and why.
JUNK = {
    "Go home now": "task_length",
    "Describe the image of a lighthouse in the evening light.": "blacklist",
    "Write a program that counts the windows of a village.": "program_asked",
    "- sort the letters of the word harbour.": "begins_with_punctuation",
    "¿Cuál es la capital de este país tan bonito?": "begins_not_ascii",
}
LABELS = (("urgent", "can wait"), ("fact", "opinion", "neither"))


class Inventor:
    """Answers a prompt by the prompt alone.

    Args:
        stock: how many ideas it has.
        junk: how often, of all tasks, one is of `JUNK`.
        seed: of its ideas.
    """

    def __init__(self, stock: int = 400, junk: float = 0.1, seed: int = 0) -> None:
        self.stock, self.junk = stock, junk
        rng = random.Random(f"ideas {seed}")
        self.english = [f"{rng.choice(_VERBS)} {' '.join(rng.sample(_WORDS, 8))}." for _ in range(stock)]
        self.chinese = [f"{''.join(rng.sample(_HAN, 14))}。" for _ in range(stock)]
        self.numbers = {
            _essence(text): number for texts in (self.english, self.chinese) for number, text in enumerate(texts)
        }

    def idea(self, text: str) -> int | None:
        """Which of its ideas a text is, in whatever form; none if it is none."""
        return self.numbers.get(_essence(text))

    def __call__(self, prompt: str, sample: int = 0) -> str:
        rng = random.Random(f"{prompt} {sample}")
        name = next((name for name, beginning in _BEGINNINGS.items() if prompt.startswith(beginning)), "answer")
        kind, _, language = name.partition(" ")
        found = getattr(self, f"_{kind}")(prompt, language, rng)
        assert isinstance(found, str)
        return found

    # One method for each prompt.

    def _tasks(self, prompt: str, language: str, rng: random.Random) -> str:
        counts = re.findall(r"Write (\d+) new tasks|请再编写 (\d+) 个新任务", prompt)[0]
        number = int(counts[0] or counts[1])
        tasks = []
        for text in self._invent(number, language, rng):
            idea = self.idea(text) or 0
            labels = LABELS[idea % 2] if idea % 5 == 0 else ()
            kind = "classification" if labels else rng.choice(("creative", "math", "planning"))
            needs = bool(labels) or idea % 3 == 0
            task = {"instruction": text, "input": "", "needs_input": needs, "kind": kind, "labels": labels}
            tasks.append(task)
        return json.dumps({"tasks": tasks}, ensure_ascii=False)

    def _numbered(self, prompt: str, language: str, rng: random.Random) -> str:
        first, last = map(int, filter(None, re.findall(r"from (\d+) to (\d+)|第 (\d+) 个写到第 (\d+) 个", prompt)[0]))
        lines = []
        for number, text in enumerate(self._invent(last - first + 1, language, rng), start=first):
            given = rng.choice(("<noinput>", "a line\nand another"))
            lines.append(f"{number}. Instruction: {text}\n{number}. Input:\n{given}\n{number}. Output:\nIt is done.")
        return "\n###\n".join(lines)

    def _listed(self, prompt: str, language: str, rng: random.Random) -> str:
        numbers = re.findall(r"number (\d+) to number (\d+)|第 (\d+) 个接着写到第 (\d+) 个", prompt)[0]
        first, last = map(int, filter(None, numbers))
        texts = self._invent(last - first + 1, language, rng)
        return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=first))

    def _classify(self, prompt: str, language: str, rng: random.Random) -> str:
        return rng.choice(("Yes", "No") if language == "en" else ("是", "否"))

    def _inputs(self, prompt: str, language: str, rng: random.Random) -> str:
        return "Example 1\nInput: one two\nOutput: two one\nExample 2\nInput: three four\nOutput: four three"

    def _labels(self, prompt: str, language: str, rng: random.Random) -> str:
        return "Class label: fact\nInput: Snow is cold.\nClass label: opinion\nInput: Snow is nice."

    def _input(self, prompt: str, language: str, rng: random.Random) -> str:
        text = f"the {rng.choice(_WORDS)} of the {rng.choice(_WORDS)}" if language == "en" else "一份通知"
        return json.dumps({"input": text}, ensure_ascii=False)

    def _translate(self, prompt: str, language: str, rng: random.Random) -> str:
        task = json.loads(prompt[prompt.index("\n\n{") :])
        idea = self.idea(task["instruction"])
        texts = self.chinese if language == "zh" else self.english
        if idea is None:  # a seed
            text = "".join(rng.sample(_HAN, 12)) if language == "zh" else f"Do {' '.join(rng.sample(_WORDS, 9))}."
        else:  # some ideas are one and the same in the other language
            text = texts[idea - 1 if idea % 7 == 1 else idea]
        given = ("一份材料" if language == "zh" else "a document") if task["input"] else ""
        return json.dumps({"instruction": text, "input": given}, ensure_ascii=False)

    def _answer(self, prompt: str, language: str, rng: random.Random) -> str:
        return (
            "好的，这是一个回答。" if "请用简体中文作答" in prompt else f"It is the {rng.choice(_WORDS)} that matters."
        )

    def _invent(self, count: int, language: str, rng: random.Random) -> list[str]:
        texts = []
        for _ in range(count):
            if rng.random() < self.junk:
                texts.append(rng.choice(list(JUNK)))
                continue
            ideas = self.english if language == "en" else self.chinese
            text = ideas[rng.randrange(self.stock)]
            if rng.random() < 0.3:  # the same idea with a word more
                text = f"Now {text[0].lower()}{text[1:]}" if language == "en" else f"请{text}"
            texts.append(text)
        return texts


def _essence(text: str) -> str:
    return re.sub(r"\W", "", text).casefold().removeprefix("now").removeprefix("请")


def _beginnings() -> dict[str, str]:
    example, wishes = own.Example("x"), own.Wishes("x", (), ())
    found = {}
    for language in ("en", "zh"):
        prompts = {
            "tasks": own.render_tasks([example], 1, wishes, {}, language),
            "numbered": classics.render_numbered([example], 2, language),
            "listed": classics.render_listed([example], 1, language),
            "classify": classics.render_is_classification("x", language),
            "inputs": classics.render_instances("x", 5, language, classification=False),
            "labels": classics.render_instances("x", 5, language, classification=True),
            "input": own.render_input("x", None, language),
        }
        most = 15 if language == "en" else 6
        found |= {f"{name} {language}": prompt[:most] for name, prompt in prompts.items()}
        found[f"translate {language}"] = render_translation("x", "", language)[:45]
    return found


_BEGINNINGS = _beginnings()
