"""Ranking: every answer kept with its reward and its place, whatever stops it on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.cli.app import main
from gpt4_instruct.errors import OutputError, OutputExistsError, SourceError, UsageError
from gpt4_instruct.evaluation import ranking
from gpt4_instruct.evaluation.answers import read_answers, summary_path
from gpt4_instruct.evaluation.ranking import best_of, of_rank, rank
from gpt4_instruct.training.recipes import RewardRecipe
from gpt4_instruct.training.scoring import RewardModel
from tests.forks import Forked
from tests.tiny import needs_training, scored_rows, tiny_model

pytestmark = [
    needs_training,
    pytest.mark.skipif(not all(map(find_spec, ("torch", "transformers"))), reason="pip install '.[train]'"),
]

N = 4
QUESTIONS = 12
ENDS = (".", "!", "!!!", " 木星。\n", "")  # an empty answer is one, too


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny models are slower with more; and the last bits of a sum hang on how many there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A causal model, a reward model trained on it, and another one with a head of random numbers."""
    from transformers import AutoModelForSequenceClassification

    from gpt4_instruct.training.reward import run_reward

    folder = tmp_path_factory.mktemp("models")
    base = tiny_model(folder / "base")
    plan = RewardRecipe(
        max_length=200, epochs=2, learning_rate=3e-3, batch_size=8, device_batch=4, precision="fp32", held_out=0.25
    )
    trained = run_reward(scored_rows(24), folder / "reward", model=str(base), plan=plan)
    other = tiny_model(folder / "other", seed=1)
    AutoModelForSequenceClassification.from_pretrained(other, num_labels=1).save_pretrained(other)
    return {"base": base, "reward": Path(trained.folder), "other": other}


def line(number: int, texts: list[str | None]) -> dict[str, Any]:
    """A line of a file of answers; a text that is none did not come."""
    answers: list[dict[str, Any]] = []
    for sample, text in enumerate(texts):
        if text is None:
            answers.append({"sample": sample, "text": None, "error": {"reason": "refusal", "detail": "400"}})
        else:
            answers.append({"sample": sample, "text": text, "finish_reason": "stop", "tokens": 3, "model": "m"})
    return {
        "id": str(number),
        "instruction": f"说出第 {number} 颗行星。" if number % 2 else f"Name planet {number}.",
        "input": "large" if number % 3 == 0 else "",
        "reference": None,
        "teacher": "local:m",
        "answers": answers,
    }


def write(file: Path, lines: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in lines), encoding="utf-8")
    return file


LINES = [
    line(number, [f"Answer {number}{ENDS[(number + sample) % len(ENDS)]}" for sample in range(N)])
    for number in range(QUESTIONS)
]


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    return LINES


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return write(tmp_path / "answers.jsonl", LINES)


# --- rewards and ranks ----------------------------------------------------------------------------------------------


def test_every_answer_is_kept_with_its_reward_and_rank(models, answers, lines, tmp_path):
    result = rank(answers, models["reward"], tmp_path / "deep" / "ranked.jsonl")
    found = list(read_answers(result.file))
    assert (result.questions, result.answers, result.scored, result.compared) == (12, 48, 48, 12)
    model = RewardModel(str(models["reward"]))
    for before, after in zip(lines, found, strict=True):
        for answer, ranked in zip(before["answers"], after["answers"], strict=True):
            assert {name: ranked[name] for name in answer} == answer
            alone = model.score([(before["instruction"], before["input"], answer["text"])])
            assert ranked["reward"] == pytest.approx(alone[0], abs=1e-5)
        rewards = [each["reward"] for each in after["answers"]]
        assert [rewards[place] for place in after["ranking"]] == sorted(rewards, reverse=True)
        assert [each["rank"] for each in after["answers"]] == [after["ranking"].index(place) + 1 for place in range(N)]
        assert {name: after[name] for name in before if name != "answers"} == {
            name: value for name, value in before.items() if name != "answers"
        }
    assert len({each["reward"] for one in found for each in one["answers"]}) > QUESTIONS, "rewards tell answers apart"
    assert "说出第 1 颗行星。" in result.file.read_text(encoding="utf-8")  # not as escapes


def test_groups_of_each_size_come_from_the_one_file(models, answers, tmp_path):
    result = rank(answers, models["reward"], tmp_path / "ranked.jsonl")
    found = [one["answers"] for one in read_answers(result.file)]
    for k in range(1, N + 1):
        tops = []
        for each in found:
            rewards = [answer["reward"] for answer in each]
            best = max(range(k), key=lambda place: rewards[place])
            assert best_of(each, k) is each[best]
            tops.append(rewards[best])
            placed = of_rank(each, k)
            assert placed is not None and placed["reward"] == sorted(rewards)[-k]
        assert result.best_of[k] == pytest.approx(sum(tops) / QUESTIONS, abs=1e-6)
        placed_rewards = [sorted(answer["reward"] for answer in each)[-k] for each in found]
        assert result.by_rank[k] == pytest.approx(sum(placed_rewards) / QUESTIONS, abs=1e-6)
    assert list(result.best_of) == list(result.by_rank) == [1, 2, 3, 4]
    assert result.best_of[1] < result.best_of[4] == result.by_rank[1] > result.by_rank[4]
    summary = json.loads(summary_path(result.file).read_text(encoding="utf-8"))
    assert summary["best_of"] == {str(k): value for k, value in result.best_of.items()}
    assert summary["reward_model"]["name"] == models["reward"].name and summary["answers"] == 48


def test_what_did_not_come_has_neither_reward_nor_rank(models, tmp_path):
    unread = {"id": "x", "instruction": "", "input": "", "error": {"reason": "missing_field"}, "answers": []}
    source = write(
        tmp_path / "answers.jsonl",
        [line(0, ["One.", None, "Two!!!"]), line(1, [None] * 3), unread, line(2, ["A.", "B!", "C?"])],
    )
    result = rank(source, models["reward"], tmp_path / "ranked.jsonl")
    assert (result.questions, result.answers, result.compared) == (2, 5, 1)
    first, none, empty, whole = read_answers(result.file)
    assert first["answers"][1]["reward"] is first["answers"][1]["rank"] is None
    assert first["answers"][1]["error"]["reason"] == "refusal"
    assert sorted(first["ranking"]) == [0, 2] and {first["answers"][place]["rank"] for place in (0, 2)} == {1, 2}
    assert best_of(first["answers"], 2) is first["answers"][0] and of_rank(first["answers"], 3) is None
    assert none["ranking"] == [] and best_of(none["answers"], 3) is None
    assert (empty["answers"], empty["ranking"], empty["error"]) == ([], [], unread["error"])
    assert result.best_of[3] == pytest.approx(max(each["reward"] for each in whole["answers"]), abs=1e-6)


def test_equal_rewards_keep_their_order(models, tmp_path):
    source = write(tmp_path / "answers.jsonl", [line(0, ["Same."] * 3)])
    result = rank(source, models["reward"], tmp_path / "ranked.jsonl")
    (found,) = read_answers(result.file)
    assert len({round(each["reward"], 5) for each in found["answers"]}) == 1
    tied = [{**each, "reward": 0.5} for each in found["answers"]]
    assert ranking._ranked({**found, "answers": tied}, iter([0.5] * 3))["ranking"] == [0, 1, 2]
    assert best_of(tied, 3) is tied[0]


# --- stopped on the way ---------------------------------------------------------------------------------------------


def _stuck() -> None:
    """Ranks, and sleeps in its fourth group."""
    import torch

    torch.set_num_threads(1)
    ranking._AT_ONCE = 8
    score, calls = RewardModel.score, 0

    def slow(self: RewardModel, texts: Any) -> list[float]:
        nonlocal calls
        calls += 1
        if calls == 4:
            print("three groups are written", flush=True)
            time.sleep(60)
        return score(self, texts)

    RewardModel.score = slow  # type: ignore[method-assign]
    rank(*sys.argv[1:4])


@pytest.fixture(scope="module")
def left_behind(models, tmp_path_factory) -> Path:
    """The folder of a run that was killed in its fourth group of two questions."""
    folder = tmp_path_factory.mktemp("killed")
    answers = write(folder / "answers.jsonl", LINES)
    out = folder / "ranked.jsonl"
    process = Forked(_stuck, [answers, models["reward"], out])
    end = time.monotonic() + 60
    while b"three groups" not in process.read("stdout") and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()  # SIGKILL
    assert b"three groups" in process.read("stdout"), process.read("stderr").decode()
    assert process.poll() == -signal.SIGKILL
    assert not out.exists() and not summary_path(out).exists()
    return folder


@pytest.fixture
def killed(left_behind: Path, tmp_path: Path) -> Path:
    """Where the ranked file is to be, with what the killed run left beside it."""
    for file in left_behind.glob(".ranked.jsonl.*"):
        shutil.copy(file, tmp_path)
    return tmp_path / "ranked.jsonl"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """What is scored from here on, in groups of two questions."""
    found: list[tuple[str, str, str]] = []
    score = RewardModel.score
    monkeypatch.setattr(ranking, "_AT_ONCE", 8)

    def record(self: RewardModel, texts: Any) -> list[float]:
        found.extend(texts)
        return score(self, texts)

    monkeypatch.setattr(RewardModel, "score", record)
    return found


def texts_of(lines: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(each["instruction"], each["input"], answer["text"]) for each in lines for answer in each["answers"]]


def test_killed_and_run_again_the_file_is_the_same_and_nothing_is_scored_twice(
    killed, models, answers, lines, asked, tmp_path
):
    part = killed.with_name(f".{killed.name}.part")
    kept = part.read_bytes()
    assert kept.count(b"\n") == 6
    with part.open("ab") as content:
        content.write(kept[: kept.index(b"\n") // 2])  # a line that was cut off by the kill
    result = rank(answers, models["reward"], killed)
    assert asked == texts_of(lines[6:])
    assert (result.scored, result.answers, result.questions) == (24, 48, 12)
    undisturbed = rank(answers, models["reward"], tmp_path / "undisturbed.jsonl")
    assert undisturbed.scored == 48
    assert killed.read_bytes() == undisturbed.file.read_bytes()
    assert (result.best_of, result.by_rank) == (undisturbed.best_of, undisturbed.by_rank)
    assert not list(tmp_path.glob(".*.part*"))


@pytest.mark.parametrize("change", ["reward model", "answers", "limit"])
def test_what_an_earlier_run_scored_counts_for_the_same_run_only(
    killed, models, answers, lines, asked, tmp_path, change
):
    model, limit, expected = models["reward"], None, lines
    if change == "reward model":
        model = models["other"]
    elif change == "limit":
        limit, expected = 7, lines[:7]
    else:
        expected = [line(99, ["New.", "Newer!", "Newest.", "?"]), *lines[1:]]
        write(answers, expected)
    result = rank(answers, model, killed, limit=limit)
    assert asked == texts_of(expected)
    assert result.scored == result.answers == 4 * len(expected)
    undisturbed = rank(answers, model, tmp_path / "undisturbed.jsonl", limit=limit)
    assert killed.read_bytes() == undisturbed.file.read_bytes()


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_not_written_over_unasked(models, answers, tmp_path):
    out = tmp_path / "ranked.jsonl"
    out.write_text("mine\n")
    with pytest.raises(OutputExistsError, match=r"ranked\.jsonl is there already: --overwrite"):
        rank(answers, models["reward"], out)
    assert out.read_text() == "mine\n"
    assert rank(answers, models["reward"], out, limit=2, overwrite=True).answers == 8
    assert len(list(read_answers(out))) == 2
    with pytest.raises(UsageError, match="holds the answers themselves"):
        rank(answers, models["reward"], answers, overwrite=True)
    with pytest.raises(OutputError, match="is a folder: name a file"):
        rank(answers, models["reward"], tmp_path)
    with pytest.raises(UsageError, match="limit is 0"):
        rank(answers, models["reward"], tmp_path / "b.jsonl", limit=0)


def test_what_is_no_reward_model_is_one_line(models, answers, tmp_path):
    for model, message in (
        (models["base"], "base is no reward model .LlamaForCausalLM, not a ForSequenceClassification"),
        ("./nowhere", "there is no folder ./nowhere"),
    ):
        with pytest.raises(UsageError, match=message) as error:
            rank(answers, model, tmp_path / "ranked.jsonl")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "ranked.jsonl").exists()


def test_rewards_that_are_no_numbers_are_not_ranked(models, answers, tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tmp_path / "nan"
    model = AutoModelForSequenceClassification.from_pretrained(models["other"])
    with torch.no_grad():
        model.score.weight.fill_(float("nan"))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(models["other"]).save_pretrained(folder)
    with pytest.raises(UsageError, match="gives rewards that are no numbers"):
        rank(answers, folder, tmp_path / "ranked.jsonl")
    assert not (tmp_path / "ranked.jsonl").exists()


@pytest.mark.parametrize("broken", ['{"id": "1", "instr', '{"id": "1", "instruction": "Say hi."}', "[]"])
def test_a_broken_line_is_one_line(models, answers, tmp_path, broken):
    kept = answers.read_text(encoding="utf-8").splitlines()
    answers.write_text("\n".join([*kept[:2], broken, *kept[2:]]) + "\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"answers\.jsonl:3 is no line of answers") as error:
        rank(answers, models["reward"], tmp_path / "ranked.jsonl")
    assert "\n" not in str(error.value)


# --- the command ----------------------------------------------------------------------------------------------------


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "gpt4_instruct", "rank", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "120"})


def test_the_command_prints_the_table(models, answers, tmp_path):
    out = tmp_path / "ranked.jsonl"
    done = command(answers, models["reward"], "--out", out)
    assert done.returncode == 0, done.stderr
    rows = [each.split() for each in done.stdout.splitlines()]
    summary = json.loads(summary_path(out).read_text(encoding="utf-8"))
    for k in range(1, N + 1):
        assert [str(k), f"{summary['best_of'][str(k)]:.3f}", f"{summary['by_rank'][str(k)]:.3f}"] in rows
    assert f"12 questions, 48 answers, 48 of them scored now: {out}" in done.stdout.replace("\n", "")


def test_the_command_says_what_is_wrong_in_one_line(models, answers, tmp_path):
    done = Forked(main, ["rank", answers, models["base"], "--out", tmp_path / "ranked.jsonl"]).finish()
    assert done.returncode != 0 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "is no reward model" in done.stderr
