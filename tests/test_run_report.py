"""The report of a run: drawn from what the commands themselves wrote, whole, safe, and of its own on one page."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.evaluation.answers import answer
from gpt4_instruct.evaluation.judge import judge
from gpt4_instruct.evaluation.judge_groups import judge_groups
from gpt4_instruct.evaluation.paper import paper_numbers
from gpt4_instruct.evaluation.rating import Study
from gpt4_instruct.evaluation.rating_pairs import Pair
from gpt4_instruct.evaluation.tally import tally
from gpt4_instruct.evaluation.translating import translate
from gpt4_instruct.metrics.rouge_by_length import rouge_by_length
from gpt4_instruct.publishing.run_sections import sections
from gpt4_instruct.reporting import report
from gpt4_instruct.run_facts import find_facts, kind_of
from gpt4_instruct.splits.build import build
from gpt4_instruct.workflows import audit
from tests.endpoint import Endpoint

EVIL = "<script>alert(1)</script>"
QUESTIONS = [
    {"instruction": "最大的行星是哪一颗？", "input": "", "output": "木星。", "category": "generic"},
    {"instruction": f"Name a fish. {EVIL}", "input": "", "output": "Cod.", "category": "coding"},
]


def script(request, count):
    """Answers, and where there are two answers in the request, scores them."""
    prompt = str(request["messages"][-1]["content"])
    return "8 6\nThe first is better." if "Answer " in prompt else f"Answer {count % 3}."


def training_facts() -> dict:
    """As `train sft` writes them, of two steps, one of which went wrong."""
    step = {"num_input_tokens_seen": 76, "tokens_per_second": 38.0, "supervised_tokens_per_second": 2.0, "mfu": 0.3}
    return {
        "kind": "sft",
        "base": {"name": "ORG/tiny-模型", "identity": "x", "licence": "mit", "parameters": 1000},
        "data": {"name": "rows.jsonl", "rows": 9, "rejected": {"empty": 1}, "sha256": "0" * 64, "held_out_rows": 1},
        "tokens": {"rows": 8, "tokens": 76, "supervised_tokens": 30, "truncated": 1},
        "template": "alpaca",
        "recipe": {
            **{"model": "ORG/tiny", "max_length": 256, "epochs": 1, "max_steps": None, "learning_rate": 2e-5},
            **{"warmup": 0.03, "weight_decay": 0.0, "batch_size": 4, "device_batch": 4, "precision": "fp32"},
            **{"checkpointing": False, "lora": None, "seed": 42, "save_steps": None, "held_out": 0.1, "packing": None},
        },
        "steps": 2,
        "tokens_seen": 152,
        "seconds": 5.7,
        "hardware": {"device": "cpu", "name": "x86_64", "devices": 1, "threads": 1, "peak_flops": None},
        "held_out": {"loss": 1.25},
        "log": [
            {"step": 1, "loss": 2.5, **step},
            {"step": 2, "loss": 1.5, **step, "num_input_tokens_seen": 152},
            {"step": 2, "eval_loss": 1.25},
        ],
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what each command wrote, by the commands themselves but for training and ranking."""
    folder = tmp_path_factory.mktemp("run")
    asked = {"ledger": folder / "ledger.sqlite3"}
    (folder / "seeds.json").write_text(json.dumps(QUESTIONS), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, Endpoint(script) as server:
        patch.setenv("OPENAI_BASE_URL", server.url)
        patch.setenv("OPENAI_API_KEY", server.key)
        build("english", folder / "seeds.json", teacher="openai:gpt-4", out=folder / "data", **asked)
        for name in ("mine", "theirs"):
            answer(QUESTIONS, "openai:gpt-4", folder / "eval" / f"{name}.jsonl", n=2, seed=len(name), **asked)
        judge(
            folder / "eval" / "mine.jsonl",
            folder / "eval" / "theirs.jsonl",
            "openai:gpt-4",
            folder / "j.jsonl",
            **asked,
        )
        lines = [json.loads(each) for each in (folder / "eval" / "mine.jsonl").read_text("utf-8").splitlines()]
        for each in lines:
            for place, one in enumerate(each["answers"]):
                one |= {"reward": -place, "rank": place + 1}
        ranked = folder / "eval" / "ranked.jsonl"
        ranked.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
        translate(folder / "eval" / "theirs.jsonl", "openai:gpt-4", folder / "eval" / "zh.jsonl", **asked)
        judge_groups(ranked, folder / "eval" / "theirs.jsonl", "openai:gpt-4", folder / "groups", **asked)
    audit(folder / "seeds.json", out=folder / "audit")
    settings = {"ours": "mine.jsonl", "baseline": EVIL, "seed": 0, "per_question": 1, "attention": 0, "raters": None}
    study = Study.create(folder / "ratings", [Pair("k1", "1", "Q?", "", "mine", "theirs")], settings)
    study.record("王", 1, "ours", {"helpfulness": "A", "honesty": "tie", "harmlessness": "B"}, "test")
    study.close()
    tally(folder / "ratings")
    found = rouge_by_length(["木星。", "A cod fish."], ["木星。", "Cod."])
    (folder / "rouge.json").write_text(json.dumps({"answers": "mine.jsonl", **found}))
    (folder / "model").mkdir()
    (folder / "model" / "training.json").write_text(json.dumps(training_facts(), ensure_ascii=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return report(run).read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a page holds: tags with their attributes, the cells of each row, and its headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.rows, self.headings = [], [], []
        self._into = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("h2", "h3"):
            self.headings.append("")
        self._into = tag if tag in ("td", "th", "h2", "h3", "code") else None

    def handle_endtag(self, tag):
        self._into = "td" if tag == "code" else None

    def handle_data(self, data):
        if self._into in ("td", "th", "code"):
            self.rows[-1][-1] += data
        elif self._into:
            self.headings[-1] += data


def test_each_kind_of_facts_is_found(run):
    found = [each.kind for each in find_facts([run])]
    assert sorted(found) == sorted(
        ["audit", "build", "training", "answers", "answers", "translation", "judge", "groups", "tally", "rouge"]
    )
    assert not any(each.error for each in find_facts([run]))


def test_the_same_facts_stand_beside_the_paper(run):
    """Verdicts, votes and ROUGE as the commands write them are read there, too."""
    mine = paper_numbers(run)["mine"]
    assert mine["unread"] == []
    assert sorted(each["kind"] for each in mine["read"]) == ["groups", "judge", "rouge", "tally"]
    judged = json.loads((run / "j.summary.json").read_text())["relative_score"]
    of = "against openai:gpt-4: 2 questions, judge gpt-4"  # too few for the paper's comparison
    assert mine["other"][of]["openai:gpt-4"] == [judged["model_sum"], judged["baseline_sum"]]
    assert {"group 1", "group 2", "group B"} < set(mine["other"][of]), "the baseline is in the summary of a group"
    assert mine["human_hhh"] == {"mine_vs_script>": {"n": 1, "ours_baseline_tie": {
        "helpfulness": [1, 0, 0], "honesty": [0, 0, 1], "harmlessness": [0, 1, 0]}}}  # fmt: skip


def test_facts_are_looked_for_in_visible_folders_a_few_levels_down_and_found_once(run, tmp_path):
    facts = (run / "rouge.json").read_text(encoding="utf-8")
    for place in ("a/b/c", ".hidden", "checkpoints/checkpoint-2", "a/b/c/d/e"):
        (tmp_path / "x" / place).mkdir(parents=True)
        (tmp_path / "x" / place / "rouge.json").write_text(facts, encoding="utf-8")
    (tmp_path / "x" / "config.json").write_text("{}")
    (tmp_path / "x" / "tokenizer.json").write_text("no facts of ours")
    found = find_facts([tmp_path / "x", tmp_path / "x" / "a" / "b" / "c" / "rouge.json"])
    assert [str(each.file.relative_to(tmp_path / "x")) for each in found] == ["a/b/c/rouge.json"]
    (named,) = find_facts([tmp_path / "x" / "config.json"])
    assert (named.kind, named.error) == ("", "holds no facts of a run")


def test_all_chapters_tell_what_the_facts_say(run, page):
    found = Page(page)
    for heading in ("Data", "Training", "Evaluation", "Cost", "Supervised tuning: ORG/tiny-模型"):
        assert heading in found.headings, heading
    assert not re.search("is not as gpt4-instruct writes it|cannot be read", page)
    manifest = json.loads((run / "data" / "manifest.json").read_text())["configs"]["english"]
    assert f"<b>{manifest['rows']}</b>rows" in page
    judged = json.loads((run / "j.summary.json").read_text())
    score = judged["relative_score"]
    assert f"<b>{score['percent']:.1f} %</b>relative score" in page and f"{score['model_sum']:g} : " in page
    groups = json.loads((run / "groups" / "groups.summary.json").read_text())["groups"]
    for name, each in groups.items():
        shown = "B (not ranked)" if name == "B" else name
        assert any(row[0] == shown and row[2] == f"{each['relative_score']['percent']:.1f} %" for row in found.rows)
    votes = json.loads((run / "ratings" / "tally.json").read_text())["criteria"]["helpfulness"]["ours"]
    shares = f"100.0 % ({100 * votes['low']:.1f} to {100 * votes['high']:.1f})"
    assert any(row[:4] == ["helpfulness", "all", "1", shares] for row in found.rows)
    assert any(row[0] == "王" for row in found.rows)
    assert ["2", "0.7500", "0.5000", "0.7500"] in [row[1:5] for row in found.rows if row[0] == "0-2"]
    assert ["tokens a second", "38.0"] in found.rows and ["batch", "4 rows a step, 4 at once on a device"] in found.rows
    assert not [each for each in sections(find_facts([run])) if not all(rows for _, _, rows in each.tables)]
    assert ["hardware", "1 x x86_64, 1 thread"] in found.rows
    assert ["of a step, nats a token", "2.5000 (step 1)", "1.5000 (step 2)"] in found.rows


def test_the_curve_is_drawn_in_the_page(page):
    pytest.importorskip("matplotlib")
    assert page.count("<svg") == 1 and "of the steps from 2.500 at step 1 to 1.500 at step 2" in page


def test_costs_are_summed_and_unknown_ones_told(run):
    costs = {}
    for each in find_facts([run]):
        for part in each.content["configs"].values() if each.kind == "build" else [each.content]:
            if "cost_usd" in part:
                costs[each.file, part.get("split")] = part["cost_usd"]
    assert len(costs) == 6 and math.fsum(costs.values()) > 0
    (cost,) = [each for each in sections(find_facts([run])) if each.chapter == "Cost"]
    assert cost.tiles == [(f"${math.fsum(costs.values()):.4f}", "of the last runs together, by the price list")]
    found = [each._replace(content={**each.content, "cost_usd": None}) if each.kind == "judge" else each
             for each in find_facts([run])]  # fmt: skip
    (cost,) = [each for each in sections(found) if each.chapter == "Cost"]
    assert cost.tiles[0][1].endswith("at least") and "of 1 of 6, the price is not known" in cost.notes[-1]


def test_the_page_needs_nothing_else_and_escapes_everything(page):
    found = Page(page)
    assert EVIL not in page and "&lt;script&gt;alert(1)" in page
    assert not {"script", "link", "iframe", "img", "object", "base"} & {tag for tag, _ in found.tags}
    for tag, attributes in found.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    assert not re.search(r"@import|url\((?!#)", page)
    (policy,) = [each["content"] for tag, each in found.tags if tag == "meta" and "http-equiv" in each]
    assert policy.startswith("default-src 'none'")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here: the page is not seen by a browser")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_page_without_scrolling_sideways(run, page, tmp_path, scheme):
    """In a frame of 380 px; what is wider than it, a table, scrolls on its own."""
    (tmp_path / "page.html").write_text(page.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'").replace("</body>", """<script>
      const style = getComputedStyle(document.body);
      document.title = [document.documentElement.scrollWidth, innerWidth, style.backgroundColor].join(" ");
      parent.postMessage(document.title, "*");
    </script></body>"""), encoding="utf-8")  # fmt: skip
    (tmp_path / "frame.html").write_text("""<script>addEventListener("message", event => {
      document.body.append(event.data); })</script><body><iframe src="page.html" width="380" height="900"></iframe>""")
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    options = [
        "--virtual-time-budget=2000",
        "--dump-dom",
        f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
    ]
    done = subprocess.run(
        [*browser, *options, (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    told = re.search(r"(\d+) (\d+) (rgb\([\d, ]+\))", done.stdout)
    assert told, done.stdout[-2000:]
    assert int(told[1]) <= int(told[2]) == 380
    assert told[3] == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 25, 29)"}[scheme]


# --- which page, of what --------------------------------------------------------------------------------------------


def test_the_page_stands_in_the_first_folder_or_where_it_is_told(run, tmp_path):
    assert report([run / "model", run / "data"]) == run / "model" / "run_report.html"
    (run / "model" / "run_report.html").unlink()
    out = report(run / "j.summary.json", tmp_path / "deep" / "page.html")
    assert out == tmp_path / "deep" / "page.html"
    text = out.read_text(encoding="utf-8")
    assert "Run: j.summary.json" in text and 'id="training"' not in text and 'id="evaluation"' in text


def test_what_is_no_run_is_one_line(run, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="no run is named"):
        report([])
    with pytest.raises(OutputError, match="nowhere does not exist"):
        report([run, tmp_path / "nowhere"])
    with pytest.raises(OutputError, match="holds no facts of a run: name what build, train"):
        report(empty)
    with pytest.raises(OutputError, match="is a folder: name a file"):
        report(run, empty)
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("kind", ["manifest.json", "training.json", "a.summary.json", "tally.json", "rouge.json"])
def test_facts_that_are_cut_off_or_odd_are_told_and_the_rest_is_shown(run, tmp_path, kind):
    source = {"manifest.json": "data/manifest.json", "training.json": "model/training.json",
              "a.summary.json": "j.summary.json", "tally.json": "ratings/tally.json", "rouge.json": "rouge.json"}[kind]  # fmt: skip
    whole = (run / source).read_text(encoding="utf-8")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / kind).write_text(whole[: len(whole) // 2], encoding="utf-8")
    content = json.loads(whole)
    odd = {name: 3 if isinstance(value, list | dict) else value for name, value in content.items()}
    assert kind_of(odd)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / kind).write_text(json.dumps(odd))
    text = report([tmp_path, run / "j.summary.json"]).read_text(encoding="utf-8")
    assert f"{kind} cannot be read" in text and f"{kind} is not as gpt4-instruct writes it" in text
    assert "relative score" in text


def test_a_training_without_numbers_says_so(tmp_path):
    facts = training_facts()
    facts["log"][0]["loss"] = float("nan")
    (tmp_path / "training.json").write_text(json.dumps(facts))
    text = report(tmp_path).read_text(encoding="utf-8")
    assert "the loss was no number in 1 steps, the first of them 1" in text
