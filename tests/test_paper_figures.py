"""The paper's figures with a run's numbers beside them: whole, with tips, and without what is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gpt4_instruct.errors import OutputError
from gpt4_instruct.evaluation.paper import derive, paper_numbers, paper_values

pytest.importorskip("matplotlib")

from gpt4_instruct.figures.drawing import style
from gpt4_instruct.figures.paper import PICTURES, draw_paper
from gpt4_instruct.figures.paper_counts import human
from gpt4_instruct.figures.paper_scores import density

SVG = "{http://www.w3.org/2000/svg}"
NAME = "local:小模型-<b>&"
SIZES = {name: paper_values()["numbers"]["unnatural_rougeL"][name] for name in ("buckets", "n")}


def with_run(numbers):
    """The paper's numbers and a run's that has something of everything."""
    mine = {
        "vicuna80": {"vs_gpt4": {NAME: [300, 720]}},
        "rank_groups": {"vs_chatgpt": {"1": [600, 700], "2": [590, 700], "B": [580, 700]}},
        "chinese": {"chinese_questions_vs_gpt4_translated": {NAME: [200, 700]}},
        "human_hhh": {"我们_vs_x": {"n": 10, "ours_baseline_tie": {"helpfulness": [5, 5, 0], "honesty": [0, 0, 0]}}},
        "unnatural_rougeL": {**SIZES, NAME: [0.5, None, 0.5, 0.5, 0.5]},
        "other": {"against x: 5 questions, judge y": {NAME: [20, 40]}},
        "other_rougeL": {NAME: {"buckets": ["0-1", ">1", "ALL"], "n": [2, 0, 2], "rougeL": [0.25, None, 0.25]}},
        "score_histograms": {NAME: {"9": 3, "1": 1}},
        "verb_noun": {"unique_pairs": {NAME: 52}},
        "lengths": {NAME: {"histogram": [3, 4, *[0] * 98], "mean": 5.0, "median": 5}},
        "intervals": {
            "vicuna80": {"vs_gpt4": {NAME: [38.0, 45.5]}},
            "unnatural_rougeL": {NAME: [[0.4, 0.6], None, *[[0.4, 0.6]] * 3]},
            "other_rougeL": {NAME: [[0.1, 0.3], None, None]},
        },
        "read": [
            {"file": "a.summary.json", "kind": "judge", "model": NAME, "other": ""},
            {"file": "few.summary.json", "kind": "judge", "model": NAME, "other": "5 questions, not 80"},
        ],
        "unread": [{"file": "b.summary.json", "why": "cannot be read"}],
    }
    mine["derived"] = derive(mine, mine["score_histograms"])
    return {**numbers, "mine": mine, "differences": []}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    (folder / "numbers.json").write_text(json.dumps(with_run(paper_numbers())), encoding="utf-8")
    files = draw_paper(folder)
    expected = [f"{name}{ending}" for name in PICTURES for ending in (".png", ".svg")] + ["paper.html"]
    assert [path.name for path in files] == expected
    return folder


def tips(folder: Path, name: str) -> list[str]:
    root = ElementTree.parse(folder / f"{name}.svg").getroot()
    return [title.text or "" for title in root.iter(f"{SVG}title")]


def test_no_figure_is_blank_or_cut_off(folder):
    from matplotlib.image import imread

    for name in PICTURES:
        inked = (imread(folder / f"{name}.png")[..., :3] < 0.97).any(axis=2)
        assert 0.01 < inked.mean() < 0.9, name
        assert not any(edge.any() for edge in (inked[0], inked[-1], inked[:, 0], inked[:, -1])), name


def test_every_bar_tells_its_sums_and_a_doubtful_one_why(folder):
    found = tips(folder, "vicuna80")
    assert "LLaMA-GPT4-7B: 83.4 % = 606 : 726.5" in found
    assert f"{NAME}: 41.7 % = 300 : 720, interval 38.0 to 45.5 %" in found
    assert len([each for each in found if " : " in each]) == 17
    (doubtful,) = [each for each in found if "Doubtful" in each]
    assert doubtful.startswith("GPT-4: 117.7 % = 613 : 521. Doubtful: 613 : 521")
    for name in ("vicuna80", "chinese"):  # the bar and its legend are hatched
        assert len(re.findall(r"fill: url\(#", (folder / f"{name}.svg").read_text(encoding="utf-8"))) == 2
    assert any("Vicuna-13B: 78.9 % = 545 : 691. Doubtful" in each for each in tips(folder, "chinese"))


def test_the_other_figures_show_the_papers_numbers_and_ours(folder):
    assert "helpfulness: LLaMA-GPT4, 381 of 704 votes (54.1 %)" in tips(folder, "human")
    assert "helpfulness: 我们, 5 of 10 votes (50.0 %)" in tips(folder, "human")
    assert "ours, group B: 82.9 % = 580 : 700" in tips(folder, "rank_groups")
    assert "LLaMA-GPT4, >10 words: 0.4119" in tips(folder, "rouge")
    assert f"{NAME} (ours), 0-2 words: 0.5000, interval 0.400 to 0.600" in tips(folder, "rouge")
    assert "gpt4: n = 51,445, mean 8.94, sd 0.50" in tips(folder, "scores")
    assert f"{NAME} (ours): n = 4, mean 7.00, sd 3.46" in tips(folder, "scores")
    assert f"{NAME}, ours: 52 different pairs" in tips(folder, "verb_noun")
    assert f"{NAME}: mean 5, median 5 words" in tips(folder, "lengths")


def test_the_page_has_all_numbers_loads_nothing_and_quotes_names(folder):
    page = (folder / "paper.html").read_text(encoding="utf-8")
    assert page.count("<svg") == len(PICTURES)
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)
    assert "<b>" not in page and "local:小模型-&lt;b&gt;&amp;" in page
    for cell in ("83.41", "54.12, 19.74, 26.14", "0.4119", "5,229", "8.937", "613 : 521", "b.summary.json"):
        assert cell in page, cell
    assert "its relative scores have no interval" in page
    assert "other: against x: 5 questions, judge y" in page and "0.1000 to 0.3000" in page, "not beside the paper's"
    assert not [tip for name in PICTURES for tip in tips(folder, name) if "0.2500" in tip or "20 : 40" in tip]
    assert "Not drawn" not in page
    assert page.count("Ours, of no comparison that the paper makes") == page.count("5 questions, not 80") == 1


def test_the_paper_alone_is_drawn_without_what_an_earlier_run_had(tmp_path):
    for name in ("lengths.png", "lengths.svg"):
        (tmp_path / name).write_bytes(b"of an earlier call")
    (tmp_path / "numbers.json").write_text(json.dumps(paper_numbers()))
    names = [path.name for path in draw_paper(tmp_path)]
    assert not (tmp_path / "lengths.png").exists() and "lengths.svg" not in names
    assert len(names) == 2 * (len(PICTURES) - 1) + 1
    page = (tmp_path / "paper.html").read_text(encoding="utf-8")
    assert "the paper has no counts of its answers&#39; lengths" in page and "Not drawn" in page
    assert "(ours)" not in page and "Read of the run" not in page and "613 : 521" in page


def test_the_same_numbers_give_the_same_picture():
    with style([NAME, "我们"]):
        one, two = (human(with_run(paper_numbers())).svg() for _ in range(2))
    assert one == two


def test_a_folder_without_such_numbers(tmp_path):
    with pytest.raises(OutputError, match=r"cannot read .*numbers\.json"):
        draw_paper(tmp_path)
    (tmp_path / "numbers.json").write_text("[]")
    with pytest.raises(OutputError, match="is not one of the paper's: run gpt4-instruct paper first"):
        draw_paper(tmp_path)


def test_a_density_is_one_in_all_and_highest_where_most_scores_are():
    points = [place / 100 for place in range(-300, 1400)]
    heights = density({9.0: 30, 1.0: 10, 8.5: 1}, points)
    assert sum(heights) / 100 == pytest.approx(1, abs=1e-6)
    assert points[heights.index(max(heights))] == pytest.approx(9, abs=0.02)
