"""The pies of a tally: what is drawn is what was counted."""

from __future__ import annotations

import math
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.figures import rating
from gpt4_instruct.figures.rating import draw_rating

pytestmark = pytest.mark.skipif(find_spec("matplotlib") is None, reason="pip install '.[stats]'")


def criterion(*votes: int) -> dict[str, Any]:
    total = sum(votes)
    found: dict[str, Any] = {"n": total}
    for choice, count in zip(("ours", "baseline", "tie"), votes, strict=True):
        share = count / total if total else None
        found[choice] = {"votes": count, "share": share, "low": share and share / 2, "high": share and (1 + share) / 2}
        if share == 0:
            found[choice] |= {"low": 0.0, "high": 0.1}
    return found


def facts(**criteria: tuple[int, ...]) -> dict[str, Any]:
    found = {name: criterion(*votes) for name, votes in criteria.items()}
    return {"ours": "llama-gpt4.jsonl", "baseline": "alpaca.jsonl", "criteria": found}


def test_slices_are_as_wide_as_shares_and_say_their_numbers(tmp_path):
    drawn = facts(helpfulness=(381, 139, 184), honesty=(183, 221, 300), harmlessness=(116, 179, 409))
    labels = {"ours": "llama-gpt4", "baseline": "alpaca", "tie": "tie"}
    picture = rating._picture(drawn["criteria"], labels)
    assert len(picture.figure.axes) == 3
    for axes, (name, found) in zip(picture.figure.axes, drawn["criteria"].items(), strict=True):
        assert axes.get_title() == f"{name}, 704 votes"
        widths = [wedge.theta2 - wedge.theta1 for wedge in axes.patches]
        assert widths == pytest.approx([360 * found[each]["share"] for each in labels], abs=1e-3)
        assert [text.get_text() for text in axes.texts if text.get_text()] == [
            f"{100 * found[each]['share']:.1f} %" for each in labels
        ]
        assert f"alpaca: {100 * found['baseline']['low']:.1f} to" in axes.get_xlabel()
    assert "helpfulness: llama-gpt4 54.1 %, alpaca 19.7 %, tie 26.1 %" in picture.alt
    assert "llama-gpt4: 381 of 704, 54.1 % (27.1 to 77.1 %)" in picture.tips.values()

    png, svg = draw_rating(drawn, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG") and png.name == "rating.png"
    content = svg.read_text(encoding="utf-8")
    assert len(re.findall("<title>", content)) >= 9 and "llama-gpt4: 381 of 704" in content


def test_a_sliver_has_no_number_and_all_of_one_is_a_whole_pie():
    picture = rating._picture(
        facts(helpfulness=(97, 0, 3), honesty=(0, 5, 0))["criteria"], {"ours": "a", "baseline": "b", "tie": "tie"}
    )
    first, second = picture.figure.axes
    assert [text.get_text() for text in first.texts if text.get_text()] == ["97.0 %"]
    assert [text.get_text() for text in second.texts if text.get_text()] == ["100.0 %"]
    assert math.isclose(sum(wedge.theta2 - wedge.theta1 for wedge in second.patches), 360, abs_tol=1e-3)


def test_chinese_names_are_drawn(tmp_path):
    paths = draw_rating(facts(helpfulness=(1, 1, 1)), tmp_path, names=("我们的", "基线"))
    assert "我们的: 1 of 3" in paths[1].read_text(encoding="utf-8")


def test_without_votes_there_is_no_picture(tmp_path: Path):
    assert draw_rating(facts(helpfulness=(0, 0, 0)), tmp_path) == []
    assert list(tmp_path.glob("rating*")) == []
