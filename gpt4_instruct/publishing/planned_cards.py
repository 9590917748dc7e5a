"""The cards of what is published, rendered before it is made: each number that a run fills in reads "not run yet".

The folder ``model_cards`` holds them, and a test fails where they differ from what is rendered here. ``make cards``, or
``python -m gpt4_instruct.publishing.planned_cards model_cards``, writes them anew.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, NamedTuple

from gpt4_instruct.publishing.cards import render_dataset_card
from gpt4_instruct.publishing.model_cards import render_model_card
from gpt4_instruct.records import Sampling, features
from gpt4_instruct.sources.released import RELEASED
from gpt4_instruct.storage import replace_text
from gpt4_instruct.training.recipes import REWARD_RECIPES, SFT_RECIPES

__all__ = ["PlannedData", "PlannedModel", "render_planned_cards"]

_GPT4, _CHATGPT, _OPT_IML = "openai:gpt-4", "openai:gpt-3.5-turbo", "local:facebook/opt-iml-1.3b"


class PlannedData(NamedTuple):
    """A split that is to be published, made as the paper's was (its sections 2 and 4).

    Attributes:
        split: its name.
        heading: of the card.
        title: what its rows are, as the split itself says.
        language: of its rows.
        source: where the instructions are from.
        steps: each step's name and who is asked.
        options: of the command, besides source and folder.
    """

    split: str
    heading: str
    title: str
    language: str
    source: str
    steps: tuple[tuple[str, str], ...]
    options: str

    @property
    def command(self) -> str:
        """What builds it."""
        return f"gpt4-instruct build {self.split} --source {self.source} {self.options} --out FOLDER"

    def manifest(self) -> dict[str, Any]:
        """That of the build, with None for all that it would find."""
        unknown = ("rows", "built", "asked", "reused", "prompt_tokens", "completion_tokens", "cost_usd")
        config = {
            **dict.fromkeys(unknown),
            "title": self.title,
            "language": self.language,
            "source": self.source,
            "rejected": {},
            "files": [],
            "features": features(self.split)._to_yaml_list(),
            "teachers": [{"stage": stage, "spec": spec, "model": spec.partition(":")[2]} for stage, spec in self.steps],
            "sampling": Sampling().parameters(),
            "on_truncation": "reject",
        }
        return {"format": 1, "configs": {self.split: config}}


class PlannedModel(NamedTuple):
    """A run that is to be published: a recipe on a released file."""

    title: str
    kind: str
    recipe: str
    released: str

    @property
    def command(self) -> str:
        """What makes it."""
        return f"gpt4-instruct train {self.kind} --recipe {self.recipe} --data released:{self.released} --out FOLDER"

    def facts(self) -> dict[str, Any]:
        """Those of the run, with None for all that it would find."""
        known = SFT_RECIPES if self.kind == "sft" else REWARD_RECIPES
        recipe = dataclasses.asdict(known[self.recipe])
        unknown = ("steps", "tokens_seen", "seconds", "hardware", "held_out", "pairs", "ties", "dropped")
        data = dict.fromkeys(("rows", "rejected", "sha256", "held_out_rows", "held_out_measured", "held_out_left_out"))
        return {
            **dict.fromkeys(unknown),
            "kind": self.kind,
            # The cards of both base models state it so: LLaMA and OPT have terms of their own.
            "base": {"name": recipe["model"], "identity": None, "licence": "other", "parameters": None},
            "data": {**data, "name": f"released:{self.released}", "languages": [RELEASED[self.released].language]},
            "tokens": {},
            "template": recipe.get("template", "alpaca"),
            "recipe": recipe,
            "log": [],
        }


DATA = {
    "english.md": PlannedData(
        "english",
        "English instructions answered by GPT-4",
        "English instructions answered by a teacher model",
        "en",
        "released:alpaca",
        (("answer", _GPT4),),
        f"--teacher {_GPT4}",
    ),
    "chinese.md": PlannedData(
        "chinese",
        "Chinese instructions answered by GPT-4",
        "Chinese instructions answered in Chinese by a teacher model",
        "zh",
        "released:alpaca",
        (("translate", _CHATGPT), ("answer", _GPT4)),
        f"--translator {_CHATGPT} --teacher {_GPT4}",
    ),
    "comparison.md": PlannedData(
        "comparison",
        "Answers of GPT-4, ChatGPT and OPT-IML, scored by GPT-4",
        "Answers of several models to the same instructions, each scored from 1 to 10 by a model",
        "en",
        "released:comparison",
        (
            ("answer of gpt-4", _GPT4),
            ("answer of gpt-3.5-turbo", _CHATGPT),
            ("answer of facebook/opt-iml-1.3b", _OPT_IML),
            ("score", _GPT4),
        ),
        f"--answers-from {_GPT4} --answers-from {_CHATGPT} --answers-from {_OPT_IML} --scorer {_GPT4}",
    ),
    "unnatural.md": PlannedData(
        "unnatural",
        "Unnatural Instructions answered by GPT-4",
        "Unnatural Instructions answered by a teacher model, beside their reference answers",
        "en",
        "released:unnatural-core",
        (("answer", _GPT4),),
        f"--teacher {_GPT4}",
    ),
    "self_instruct.md": PlannedData(
        "self_instruct",
        "Instructions invented and answered by GPT-4",
        "Instructions invented and answered by a teacher model",
        "en",
        "seeds",
        (("invent", _GPT4), ("instance", _GPT4), ("answer", _GPT4)),
        f"--teacher {_GPT4} --accept 52000",
    ),
}
MODELS = {
    "llama-gpt4.md": PlannedModel("LLaMA-GPT4", "sft", "llama-gpt4", "english"),
    "llama-gpt4-cn.md": PlannedModel("LLaMA-GPT4-CN", "sft", "llama-gpt4-cn", "chinese"),
    "reward-opt-1.3b.md": PlannedModel("Reward model OPT-1.3B", "reward", "opt-1.3b", "comparison"),
}


def render_planned_cards() -> dict[str, str]:
    """The cards of what is published, rendered from definitions and recipes, for runs not made: by file name."""
    data = {
        name: render_dataset_card(each.manifest(), title=each.heading, command=each.command)
        for name, each in DATA.items()
    }
    models = {
        name: render_model_card(each.facts(), title=each.title, command=each.command) for name, each in MODELS.items()
    }
    return data | models


if __name__ == "__main__":
    for name, text in render_planned_cards().items():
        replace_text(Path(sys.argv[1]) / name, text)
