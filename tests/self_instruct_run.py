"""A Self-Instruct build in a process of its own, to be killed at any moment; imported by a fork server, see `exactly_once`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gpt4_instruct.publishing.folder as folder
from gpt4_instruct.quality.base import Sample, first_failure
from gpt4_instruct.splits.build import build
from gpt4_instruct.splits.self_instruct import SelfInstruct  # noqa: F401
from gpt4_instruct.splits.self_instruct_recipes import RECIPES
from gpt4_instruct.statistics.verb_noun import mixed_pairs
from tests import exactly_once

# Parsers, dictionaries and checks are loaded before the fork: most of a short run's time.
list(mixed_pairs([("Write a line.", "en"), ("写一首诗。", "zh")]))
first_failure(
    [*RECIPES["gpt4-instruct"].checks, "input_is_output", "ends_with_colon"], Sample("Name a big river.", "", "x")
)


def run(environment: dict[str, str], log: Path, timeout_s: float, options: dict[str, Any]) -> None:
    """Builds with few and short requests, and without a figure; leaves as `exactly_once.run` does."""
    RECIPES["gpt4-instruct"] = replace(RECIPES["gpt4-instruct"], tasks=5, requests=3)
    folder.draw_self_instruct = lambda facts, folder: []
    exactly_once.build = lambda split, **options: build("self_instruct", **options)
    exactly_once.run(environment, log, timeout_s, options)
