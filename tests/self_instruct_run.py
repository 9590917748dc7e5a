"""A Self-Instruct build in a process of its own, to be killed at any moment; started by the fork server, see `forks`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gpt4_instruct.publishing.folder as folder
from gpt4_instruct.splits import steering
from gpt4_instruct.splits.build import build
from gpt4_instruct.splits.self_instruct_recipes import RECIPES
from tests import exactly_once


def run(environment: dict[str, str], log: Path, timeout_s: float, options: dict[str, Any]) -> None:
    """Builds with few and short requests, and without what takes seconds to load; leaves as `exactly_once.run` does."""
    RECIPES["gpt4-instruct"] = replace(RECIPES["gpt4-instruct"], tasks=5, requests=3)
    folder.draw_self_instruct = lambda facts, folder: []
    steering.mixed_pairs = lambda texts, processes: [(text.split()[0], text.split()[-1]) for text, _ in texts]
    exactly_once.build = lambda split, **options: build("self_instruct", **options)
    exactly_once.run(environment, log, timeout_s, options)
