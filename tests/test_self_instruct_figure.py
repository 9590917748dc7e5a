"""What is told of a Self-Instruct build: its figure, the section of its card, its table; all say what its facts say."""

from __future__ import annotations

import io
import json
import random
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from gpt4_instruct import Replay
from gpt4_instruct.figures.self_instruct import draw_self_instruct
from gpt4_instruct.publishing.folder import add_config, building, read_manifest
from gpt4_instruct.publishing.self_instruct_section import rounds_table, self_instruct_section
from gpt4_instruct.publishing.show import show
from gpt4_instruct.splits.english import English
from gpt4_instruct.storage import read_json, write_json

REASONS = ("similar", "task_length", "blacklist_alpaca", "copied_example", "program_asked", "surplus", "truncated")


def run(count: int, *, diversity: bool = True, priced: bool = True, **changes: Any) -> dict[str, Any]:
    """The facts of a build of some rounds, drawn by chance."""
    chance = random.Random(count)
    rounds: list[dict[str, Any]] = []
    kinds: Counter[str] = Counter()
    for number in range(1, count + 1):
        rejected = {reason: chance.randint(1, 9) for reason in chance.sample(REASONS, 6)}
        kept = chance.randint(3, 60)
        kinds.update(chance.choices(["open_question", "extraction", "rewriting"], k=kept))
        rounds.append(
            {
                "round": number,
                "asked": 16,
                "refused": int(number == 2),
                "parsed": kept + sum(rejected.values()),
                "accepted": kept,
                "rejected": rejected,
                "prompt_tokens": 900,
                "completion_tokens": 1_600,
                "cost_usd": chance.randint(1, 40) / 64 if priced else None,
                "verbs": 20 + number if diversity else None,
                "pairs": 30 + 40 * number if diversity else None,
                "topics": min(98, number) if diversity else 0,
                "kinds": dict(kinds),
                "similarity": 0.25 if diversity else None,
            }
        )
    found = {
        "recipe": "gpt4-instruct",
        "language": "en",
        "seeds": 160,
        "seeds_left_out": {"duplicate": 2},
        "stopped": "accepted",
        "stopped_detail": "40 rows were accepted.",
        "invented": sum(each["accepted"] for each in rounds),
        "usd_per_row": 0.0125 if priced else None,
        "rounds": rounds,
    }
    return {"rows": 40, "self_instruct": {**found, **changes}}


# --- the figure -----------------------------------------------------------------------------------------------------


def tips(svg: Path) -> list[str]:
    return [title.text or "" for title in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}title")]


@pytest.mark.parametrize("count", [1, 3, 230])
def test_bars_add_up_to_the_facts(tmp_path, count):
    facts = run(count)
    png, svg = draw_self_instruct(facts, tmp_path)
    assert (png.name, svg.name) == ("self_instruct.png", "self_instruct.svg")
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    shown: Counter[str] = Counter()
    bars = [re.fullmatch(r"rounds? ([\d,]+)(?: to [\d,]+)?: ([\d,]+) (.+)", tip) for tip in tips(svg)]
    for bar in filter(None, bars):
        shown[bar[3]] += int(bar[2].replace(",", ""))
    rounds = facts["self_instruct"]["rounds"]
    expected: Counter[str] = Counter()
    for each in rounds:
        expected.update(each["rejected"])
    assert shown.pop("kept") == sum(each["accepted"] for each in rounds)
    named = {reason: number for reason, number in shown.items() if reason in REASONS}
    assert named == {reason: expected[reason] for reason in named} and len(named) >= 4
    assert shown.total() == expected.total(), "the others are drawn, too"
    assert sum(bar is not None and bar[3] == "kept" for bar in bars) == (77 if count == 230 else count)
    assert f"{rounds[-1]['pairs']:,} different verb-noun pairs in the end" in tips(svg)


def test_what_is_not_known_is_left_out(tmp_path):
    facts = run(3, diversity=False)
    rounds = facts["self_instruct"]["rounds"]
    drawn = draw_self_instruct(facts, tmp_path)
    assert not any("different" in tip or "nearest" in tip for tip in tips(drawn[1]))
    alone = _height(drawn[0])
    rounds[1]["similarity"] = 0.5  # known of one round only
    assert any("0.50 at first, 0.50 in the end" in tip for tip in tips(draw_self_instruct(facts, tmp_path)[1]))
    assert _height(tmp_path / "self_instruct.png") > alone, "there are two panels now"
    rounds[0].update(parsed=0, accepted=0, rejected={"unreadable": 16})
    rounds[2].update(verbs=0, pairs=0)
    assert any("kept: none read at first" in tip for tip in tips(draw_self_instruct(facts, tmp_path)[1]))


def _height(png: Path) -> int:
    return int.from_bytes(png.read_bytes()[20:24], "big")


def test_no_round_is_no_figure_and_the_same_facts_are_the_same_one(tmp_path):
    assert draw_self_instruct(run(0), tmp_path) == [] and not list(tmp_path.glob("*.png"))
    facts = run(3)
    first = [path.read_bytes() for path in draw_self_instruct(facts, tmp_path)]
    for each in facts["self_instruct"]["rounds"]:
        each["rejected"] = dict(reversed(each["rejected"].items()))
    assert [path.read_bytes() for path in draw_self_instruct(facts, tmp_path)] == first


# --- the section ----------------------------------------------------------------------------------------------------


def tables(markdown: str) -> list[list[list[str]]]:
    """The cells of each table, as a reader of the page sees them."""
    found: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and found[-1] and token.level > 2:
            found[-1][-1].append("".join(part.content for part in token.children or ()))
    return found


def test_the_section_says_what_the_facts_say():
    facts = run(5)
    rounds = facts["self_instruct"]["rounds"]
    told, reasons, shown, kinds = tables(self_instruct_section(facts))
    numbers = dict(told[1:])
    read, kept = (sum(each[key] for each in rounds) for key in ("parsed", "accepted"))
    assert numbers["recipe"] == "gpt4-instruct" and numbers["language"] == "English"
    assert numbers["seeds"] == "160; left out: duplicate 2"
    assert numbers["requests for tasks"] == "80; 1 refused"
    assert numbers["tasks read from the replies"] == str(read)
    assert numbers["tasks kept"] == f"{kept} ({kept / read:.1%})"
    assert numbers["rows in the data"] == "40"
    assert numbers["cost of inventing"] in {
        f"{sum(each['cost_usd'] for each in rounds):.{digits}f} USD" for digits in (2, 3)
    }
    assert numbers["cost of a row, answers and all"] == "0.0125 USD"
    expected: Counter[str] = Counter()
    for each in rounds:
        expected.update(each["rejected"])
    assert {reason: int(number) for reason, number, _ in reasons[1:]} == expected
    assert sum(float(share.rstrip("%")) for _, _, share in reasons[1:]) == pytest.approx(100, abs=0.5)
    heads, *rows = shown
    assert [dict(zip(heads, row, strict=True)) for row in rows] == [
        {
            "round": str(each["round"]),
            "requests": "16",
            "tasks": str(each["parsed"]),
            "kept": str(each["accepted"]),
            "kept %": f"{each['accepted'] / each['parsed']:.1%}",
            "commonest reasons": ", ".join(
                f"{name} {count}"
                for name, count in sorted(each["rejected"].items(), key=lambda item: (-item[1], item[0]))[:2]
            ),
            "USD": f"{each['cost_usd']:.4f}",
            "verbs": str(each["verbs"]),
            "pairs": str(each["pairs"]),
        }
        for each in rounds
    ]
    assert {kind: int(number) for kind, number, _ in kinds[1:]} == rounds[-1]["kinds"]


def test_the_section_of_a_run_of_no_or_many_rounds_and_of_unknown_prices():
    none = self_instruct_section(run(0, stopped="unreadable", stopped_detail="No reply held a task."))
    assert "It stopped (`unreadable`): No reply held a task." in none
    assert len(tables(none)) == 1 and "tasks kept | 0 (-)" in none
    many = run(345, diversity=False, priced=False)
    heads, *rows = tables(self_instruct_section(many))[2]
    assert [row[0] for row in rows] == ["1", "50", "100", "150", "200", "250", "300", "345"]
    assert not {"USD", "verbs", "pairs"} & set(heads)
    assert "not known" in self_instruct_section(many) and "None" not in self_instruct_section(many)
    assert "figures/" not in self_instruct_section(many)


def test_names_and_reasons_cannot_break_the_page():
    facts = run(2, stopped="dry", stopped_detail="Three rounds | of\n\n# nothing <b>new</b> in `it`*.", language="both")
    for each in facts["self_instruct"]["rounds"]:
        each["rejected"] = {"a|b`c": 3}
        each["kinds"] = {f"kind|{number}\n": 2 for number in range(25)}
    text = self_instruct_section(facts)
    assert [{len(row) for row in table} for table in tables(text)] == [{2}, {3}, {9}, {3}]
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert page.count("<h1") == 0 and page.count("<h2") == 1 and "<b>" not in page
    assert tables(text)[3][-1] == ["5 others", "10", "20.0%"]
    assert "English and Chinese" in text


# --- the terminal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "title"), [(1, "invented, 1 round"), (345, "invented, 8 of 345 rounds")])
def test_the_table_fits_a_terminal(count, title):
    facts = run(count)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(rounds_table(facts))
    lines = console.export_text().splitlines()
    assert lines[0].strip() == title
    last = facts["self_instruct"]["rounds"][-1]
    cells = lines[-2].split()
    assert cells[:4] == [f"{last[key]:,}" for key in ("round", "asked", "parsed", "accepted")]
    assert cells[-2:] == [f"{last['verbs']:,}", f"{last['pairs']:,}"]


# --- a build's folder -----------------------------------------------------------------------------------------------


@pytest.fixture
def prepare(tmp_path):
    """Builds a split that tells of rounds, into a folder."""
    tasks = [{"instruction": "Name the largest planet.", "input": "", "output": "Jupiter is the largest planet."}]
    source = tmp_path / "tasks.json"
    source.write_text(json.dumps(tasks))
    folder = tmp_path / "data"

    def made(facts: dict[str, Any] | None) -> Path:
        with building(folder, "english", overwrite=True) as scratch:
            builder = English(source=source, teacher=Replay(tasks))
            builder.download_and_prepare(str(scratch / "split"), file_format="parquet")
            if facts is not None:
                told = read_json(scratch / "split" / "facts.json")
                write_json(scratch / "split" / "facts.json", {**told, "self_instruct": facts["self_instruct"]})
            add_config(folder, "english", scratch / "split")
        return folder

    return made


def test_a_build_draws_its_rounds_and_a_rebuild_replaces_the_figure(prepare, capsys, monkeypatch):
    folder = prepare(run(3))
    figure = folder / "figures" / "self_instruct.png"
    assert read_manifest(folder)["configs"]["english"]["self_instruct"]["figure"] == "figures/self_instruct.png"
    first = figure.read_bytes()
    monkeypatch.setenv("COLUMNS", "120")
    show(folder)
    assert "invented, 3 rounds" in capsys.readouterr().out
    prepare(run(4))
    assert figure.read_bytes() != first
    assert {path.name for path in (folder / "figures").iterdir()} == {"self_instruct.png", "self_instruct.svg"}


def test_without_matplotlib_there_is_no_figure_and_no_earlier_one(prepare, monkeypatch):
    folder = prepare(run(3))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    prepare(run(4))
    assert "figure" not in read_manifest(folder)["configs"]["english"]["self_instruct"]
    assert not list((folder / "figures").iterdir())


def test_a_split_without_rounds_draws_nothing(prepare):
    assert not (prepare(None) / "figures").exists()
