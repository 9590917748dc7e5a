"""Pairs of answers, who rates which, and votes that are never lost."""

from __future__ import annotations

import json
import multiprocessing
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.errors import OutputError, SourceError, UsageError
from gpt4_instruct.evaluation.rating import CRITERIA, Study, View
from gpt4_instruct.evaluation.rating_pairs import find_pairs
from gpt4_instruct.evaluation.rating_turns import Turns, side_of

SETTINGS = {"ours": "a.jsonl", "baseline": "b.jsonl", "seed": 3, "per_question": 2, "attention": 0, "raters": None}


def line(id: str, *texts: str | None, instruction: str | None = None, **more: Any) -> dict[str, Any]:
    answers = [{"sample": number, "text": text} for number, text in enumerate(texts)]
    return {"id": id, "instruction": instruction or f"Question {id}?", "input": "", "answers": answers, **more}


def write(file: Path, lines: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(each, ensure_ascii=True) + "\n" for each in lines), encoding="utf-8")
    return file


def two_files(folder: Path, count: int) -> tuple[Path, Path]:
    names = ("a.jsonl", "b.jsonl")
    ours, baseline = (
        write(folder / name, [line(str(n), f"{name[0]}: a long enough answer to {n}.") for n in range(count)])
        for name in names
    )
    return ours, baseline


def new_study(folder: Path, count: int = 4, **settings: Any) -> Study:
    chosen = {**SETTINGS, **settings}
    pairs, _ = find_pairs(*two_files(folder, count), attention=chosen["attention"], seed=chosen["seed"])
    return Study.create(folder / "out", pairs, chosen)


def all_of(choice: str) -> dict[str, str]:
    return dict.fromkeys(CRITERIA, choice)


def rate_all(study: Study, rater: str, choice: str = "A") -> list[View]:
    """Rates until nothing is left; what was seen."""
    rater = study.enter(rater)
    seen = []
    view = study.view(rater)
    while view is not None:
        seen.append(view)
        view = study.vote(rater, view.place, all_of(choice))
    return seen


# --- pairs ----------------------------------------------------------------------------------------------------------


def test_answers_are_joined_by_question_and_what_is_left_out_is_counted(tmp_path):
    ours = write(
        tmp_path / "a.jsonl",
        [
            line("1", "mine", "second"),
            line("2", "best is last", "no", "yes", ranking=[2, 0, 1]),
            line("3", None),
            line("4", "mine", instruction="Another question?"),
            line("5", "only here"),
            line("1", "again"),
            line("6", " "),
            line("7", "half a character: \ud83d"),
            {**line("8"), "error": {"reason": "empty_instruction"}},
        ],
    )
    others = [line(each, f"theirs {each}") for each in ("7", "6", "4", "3", "2", "1", "8", "9")]
    pairs, left_out = find_pairs(ours, write(tmp_path / "b.jsonl", others), attention=0)
    assert [(each.question, each.ours, each.baseline) for each in pairs] == [
        ("1", "mine", "theirs 1"),
        ("2", "yes", "theirs 2"),
        ("6", " ", "theirs 6"),
        ("7", "half a character: ?", "theirs 7"),
    ]
    assert left_out == {
        "only_in_answers": 1,
        "only_in_baseline": 1,
        "no_answer": 2,
        "duplicated_id": 1,
        "other_question": 1,
        "empty_answer": 1,
    }
    Study.create(tmp_path / "out", pairs, {**SETTINGS, "left_out": left_out}).close()


def test_no_question_in_common_is_one_line(tmp_path):
    ours, baseline = write(tmp_path / "a.jsonl", [line("1", "x")]), write(tmp_path / "b.jsonl", [line("2", "y")])
    with pytest.raises(SourceError, match=r"no question in common that both answer .1 only_in_baseline") as error:
        find_pairs(ours, baseline)
    assert "\n" not in str(error.value)
    write(baseline, [line("1", "y")])
    with pytest.raises(UsageError, match=r"no answer is long enough for an attention check: .*--attention 0"):
        find_pairs(ours, baseline)


def test_checks_set_a_real_answer_beside_none_or_a_scrambled_one(tmp_path):
    pairs, _ = find_pairs(*two_files(tmp_path, 40), attention=10)
    real = {each.question: each for each in pairs[:40]}
    checks = pairs[40:]
    assert len(checks) == 4 and all(each.expected is None for each in real.values())
    assert {each.expected for each in checks} == {"ours", "baseline"}
    for number, each in enumerate(checks):
        good, bad = (each.ours, each.baseline) if each.expected == "ours" else (each.baseline, each.ours)
        assert good in (real[each.question].ours, real[each.question].baseline)
        assert (bad == "") == bool(number % 2)
        if bad:
            assert sorted(bad.replace(" ", "")) == sorted(good.replace(" ", "")) and bad != good
    assert find_pairs(*two_files(tmp_path, 40), attention=10)[0] == pairs
    assert {each.key for each in find_pairs(*two_files(tmp_path, 40), seed=1)[0]}.isdisjoint(each.key for each in pairs)


def test_short_answers_in_chinese_are_long_enough_for_a_check(tmp_path):
    for texts, expected in (
        (("早睡早起，少喝咖啡。", "不知道。"), "早睡早起，少喝咖啡。"),
        (("No, not that much.", "早睡早起，少喝咖啡。"), "早睡早起，少喝咖啡。"),
        (("哈" * 9, "嗯。"), "哈" * 9),
    ):
        files = [write(tmp_path / f"{n}.jsonl", [line("1", text)]) for n, text in enumerate(texts)]
        pairs, _ = find_pairs(files[0], files[1])
        good, bad = sorted((pairs[1].ours, pairs[1].baseline), key=lambda text: text != expected)
        assert good == expected and bad != expected
    with pytest.raises(UsageError, match="no answer is long enough"):
        find_pairs(write(tmp_path / "a.jsonl", [line("1", "不知道。")]), files[0].with_name("a.jsonl"))


FASTCHAT = [{"question_id": n, "text": f"theirs {n}", "model_id": "vicuna"} for n in (1, 2, 3)]
LLM_JUDGE = [{"question_id": n, "choices": [{"index": 0, "turns": [f"theirs {n}", "x"]}]} for n in (1, 2, 3)]
ALPACA_EVAL = [{"instruction": f"Question {n}?", "output": f"theirs {n}", "generator": "m"} for n in (3, 2, 1)]


@pytest.mark.parametrize("rows", [FASTCHAT, LLM_JUDGE, ALPACA_EVAL], ids=["fastchat", "llm_judge", "alpaca_eval"])
@pytest.mark.parametrize("turned", [False, True])
def test_files_of_fastchat_and_alpaca_eval_are_rated_beside_ours(tmp_path, rows, turned):
    ours = write(tmp_path / "a.jsonl", [line(str(n), f"mine {n}") for n in (1, 2)] + [line("4", None, instruction="")])
    files = [ours, write(tmp_path / "b.jsonl", rows)]
    pairs, left_out = find_pairs(*reversed(files) if turned else files, attention=0)
    found = {(each.question, each.instruction, *sorted((each.ours, each.baseline))) for each in pairs}
    assert found == {(f"{n}", f"Question {n}?", f"mine {n}", f"theirs {n}") for n in (1, 2)}
    assert all(each.ours.startswith("theirs" if turned else "mine") for each in pairs)
    assert left_out["only_in_answers" if turned else "only_in_baseline"] == 1


def test_where_no_file_holds_the_questions_they_are_named(tmp_path):
    files = [write(tmp_path / f"{n}.jsonl", [{**row, "text": f"{n}: {row['text']}"} for row in FASTCHAT]) for n in "ab"]
    with pytest.raises(SourceError, match=r"a.jsonl has no text of question 1: name a file .* with --questions"):
        find_pairs(*files, attention=0)
    asked = [{"question_id": n, "text": f"What is {n}?", "category": "math"} for n in (1, 2, 3)]
    pairs, left_out = find_pairs(*files, questions=write(tmp_path / "q.jsonl", asked), attention=0)
    assert [(each.question, each.instruction, each.ours) for each in pairs] == [
        (f"{n}", f"What is {n}?", f"a: theirs {n}") for n in (1, 2, 3)
    ]
    assert left_out == {}
    with pytest.raises(SourceError, match="one file has ids and no questions"):
        find_pairs(files[0], write(tmp_path / "c.jsonl", ALPACA_EVAL))
    both = write(tmp_path / "c.jsonl", ALPACA_EVAL)
    assert [each.question for each in find_pairs(both, both, attention=0)[0]] == ["1", "2", "3"]


# --- who rates what, and how it is shown ----------------------------------------------------------------------------


def test_sides_are_even_and_hang_on_seed_pair_and_rater():
    sides = {(s, k, r): side_of(s, f"{k}", f"r{r}") for s in range(4) for k in range(50) for r in range(10)}
    assert 930 < Counter(sides.values())["ours"] < 1070  # of 2,000; three standard deviations are 67
    for place in range(3):  # another seed, another pair, another rater: another side as often as not
        others = [
            side != sides[(*of[:place], 0, *of[place + 1 :])]  # type: ignore[index]
            for of, side in sides.items()
            if of[place]
        ]
        assert 0.4 < sum(others) / len(others) < 0.6


def test_the_page_sees_sides_and_the_votes_know_models(tmp_path):
    study = new_study(tmp_path, 12)
    seen = rate_all(study, "Ann")
    chosen = {study.pairs[number].instruction: choice for _, number, criterion, choice in study.votes() if criterion}
    texts = {pair.instruction: pair for pair in study.pairs.values()}
    for view in seen:
        pair = texts[view.instruction]
        assert {view.left, view.right} == {pair.ours, pair.baseline}
        assert view.left == getattr(pair, chosen[view.instruction]), "A, the left one, was chosen"
    assert min(Counter(chosen.values())[each] for each in ("ours", "baseline")) >= 2
    assert [each.instruction for each in seen] != list(texts), "in another order than in the file"


def test_named_raters_share_the_questions_out(tmp_path):
    names = ["Ann", "Bo", "Cy", "丁"]
    study = new_study(tmp_path, 10, raters=names, per_question=3)
    seen = {name: [each.instruction for each in rate_all(study, name)] for name in names}
    assert sorted(map(len, seen.values())) == [7, 7, 8, 8]
    assert set(Counter(text for texts in seen.values() for text in texts).values()) == {3}
    assert all(len(set(texts)) == len(texts) for texts in seen.values())
    with pytest.raises(UsageError, match="no rater 'Eve'"):
        study.enter("Eve")


def test_where_anyone_rates_each_question_gets_its_number_of_raters(tmp_path):
    study = new_study(tmp_path, 7, per_question=2)
    views = {name: study.view(study.enter(name)) for name in ("Ann", "Bo", "Cy", "Di")}
    while any(views.values()):  # all at the same time, question by question
        counts = Counter(number for _, number, *_ in study.votes())
        assert max(counts.values(), default=0) - min([counts[n] for n in study.pairs], default=0) <= 6
        for name, view in views.items():
            if view is not None:
                views[name] = study.vote(name, view.place, all_of("B"))
    votes = study.votes()
    assert Counter(number for _, number, *_ in votes) == dict.fromkeys(study.pairs, 2 * 3)
    assert len(votes) == len({vote[:3] for vote in votes})
    assert study.view(study.enter("Late")) is None
    total = Counter(rater for rater, *_ in votes)
    assert max(total.values()) - min(total.values()) <= 3  # votes: one question


def test_a_question_that_was_left_alone_goes_to_somebody_else(tmp_path, monkeypatch):
    study = new_study(tmp_path, 1, per_question=1)
    assert study.view(study.enter("Ann")) is not None
    assert study.view(study.enter("Bo")) is None
    monkeypatch.setattr("gpt4_instruct.evaluation.rating._LEFT_ALONE_S", 0.0)
    assert study.view("Bo") is not None


def test_checks_come_once_in_each_block_at_another_place_for_each_rater(tmp_path):
    study = new_study(tmp_path, 30, attention=10, per_question=9)
    checks = {pair.instruction for pair in study.pairs.values() if pair.expected}
    places = set()
    for name in ("Ann", "Bo", "Cy", "Di"):
        seen = rate_all(study, name)
        assert [each.total for each in seen] == [33] * 33
        wrong = [n for n, each in enumerate(seen) if "" in (each.left, each.right) or _scrambled(each)]
        assert [n // 11 for n in wrong] == [0, 1, 2]
        places.add(tuple(n % 11 for n in wrong))
    assert len(places) > 1 and len(checks) == 3


def _scrambled(view: View) -> bool:
    return not all("a long enough answer" in text for text in (view.left, view.right))


def test_a_short_study_has_its_check_too():
    for name in "abcdefgh":
        turns = Turns([1, 2, 3], [4], seed=1, per_question=1, attention=20, raters=None)
        had: list[int] = []
        while (given := turns.next(name, had, {})) is not None:
            assert turns.total(name, had, {}) == 4
            had.append(given)
        assert sorted(had) == [1, 2, 3, 4]
    assert Turns([1], [2], seed=1, per_question=1, attention=20, raters=None).next("late", [], {1: 1}) is None


# --- votes ----------------------------------------------------------------------------------------------------------


def test_a_rater_comes_back_to_where_they_were_and_may_change_a_vote(tmp_path):
    study = new_study(tmp_path)
    ann = study.enter("  Ann\u3000Lee ")
    assert ann == "Ann Lee"
    first = study.view(ann)
    assert first is not None and first.choices == {}
    second = study.vote(ann, 0, {**all_of("A"), "honesty": "tie"})
    study.close()

    study = Study(tmp_path / "out")
    assert study.view(study.enter("Ann Lee")) == second
    again = study.view(ann, 0)
    assert again is not None and (again.left, again.right) == (first.left, first.right)
    assert again.choices == {**all_of("A"), "honesty": "tie"}
    assert study.vote(ann, 0, {**all_of("A"), "honesty": "B"}) == second
    view = study.view(ann, 0)
    assert view is not None and view.choices == {**all_of("A"), "honesty": "B"}
    assert len(study.votes()) == 3 and len(study.history()) == 4
    assert next(choice for *_, criterion, choice in study.history() if criterion == "honesty") == "tie"


@pytest.mark.parametrize(
    "choices", [{}, {"helpfulness": "A"}, {**all_of("A"), "honesty": "C"}, {**all_of("A"), "x": "A"}]
)
def test_a_vote_that_is_none_is_refused(tmp_path, choices):
    study = new_study(tmp_path)
    study.view(study.enter("Ann"))
    with pytest.raises(UsageError, match="each criterion needs a choice"):
        study.vote("Ann", 0, choices)
    with pytest.raises(UsageError, match="has no question 2"):
        study.vote("Ann", 1, all_of("A"))
    assert study.votes() == study.history() == []


def test_a_name_is_the_same_however_its_letters_were_typed(tmp_path):
    study = new_study(tmp_path, raters=["Jos\u00e9"], per_question=1)
    assert study.enter("Jose\u0301 ") == study.enter("Jos\u00e9") == "Jos\u00e9"
    assert study.raters() == ["Jos\u00e9"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\x07b"])
def test_what_is_no_name_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="1 to 60 characters"):
        new_study(tmp_path).enter(name)


def test_many_raters_in_threads_at_once_lose_nothing(tmp_path):
    study = new_study(tmp_path, 20, per_question=4)
    with ThreadPoolExecutor(12) as pool:
        seen = list(pool.map(lambda number: rate_all(study, f"r{number}"), range(12)))
    votes = study.votes()
    assert len(votes) == len(study.history()) == 3 * sum(map(len, seen))
    assert Counter(number for _, number, *_ in votes) == dict.fromkeys(study.pairs, 4 * 3)


def _rate_in_process(folder: str, rater: str, both_are_there: Any) -> None:
    study = Study(folder)
    both_are_there.wait()
    view = study.view(study.enter(rater))
    while view is not None:
        view = study.vote(rater, view.place, all_of("tie"))
        time.sleep(0.003)  # else one of them may be done before the other is let in


def test_two_processes_at_once_lose_nothing_and_share_the_questions(tmp_path):
    new_study(tmp_path, 150, per_question=1).close()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    processes = [
        context.Process(target=_rate_in_process, args=(str(tmp_path / "out"), r, barrier)) for r in ("Ann", "Bo")
    ]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
        assert each.exitcode == 0
    study = Study(tmp_path / "out")
    assert Counter(number for _, number, *_ in study.votes()) == dict.fromkeys(study.pairs, 3), "each once"
    counts = Counter(rater for rater, *_ in study.votes())
    assert min(counts["Ann"], counts["Bo"]) >= 3 * 10, "they did rate at the same time"


_KILLED = """
import sys
from tests.test_rating import Study, all_of
study = Study(sys.argv[1])
view = study.view(study.enter("Ann"))
while view is not None:
    print(view.place, flush=True)
    view = study.vote("Ann", view.place, all_of("A"))
"""


def test_killed_at_any_moment_what_was_answered_for_is_there(tmp_path):
    new_study(tmp_path, 400, per_question=1).close()
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    last = [int(process.stdout.readline()) for _ in range(25)][-1]
    process.kill()
    assert process.wait() == -signal.SIGKILL
    last = max([last, *map(int, process.stdout.read().split())])
    study = Study(tmp_path / "out")
    # What came before the place that was shown last had been answered for.
    assert {number for _, number, *_ in study.votes()} >= {study._shown("Ann", place)[0] for place in range(last)}
    assert len(study.votes()) % 3 == 0, "the three votes on a question are saved together"
    view = study.view("Ann")
    assert view is not None and view.place == len(study.votes()) // 3


def test_votes_are_on_disk_at_every_commit(tmp_path):
    study = new_study(tmp_path)
    assert study._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert study._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


# --- folders --------------------------------------------------------------------------------------------------------


def test_the_same_study_goes_on_and_another_is_refused(tmp_path):
    study = new_study(tmp_path)
    rate_all(study, "Ann")
    study.close()
    again = new_study(tmp_path)
    assert len(again.votes()) == 12
    again.close()
    with pytest.raises(UsageError, match=r"out holds another study .seed was not the same.: name another folder"):
        new_study(tmp_path, seed=4)
    with pytest.raises(UsageError, match=r"another study .answers"):
        new_study(tmp_path, 5)


def test_what_is_no_study_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="holds no ratings: gpt4-instruct rate serve"):
        Study(tmp_path)
    file = tmp_path / "votes.sqlite3"
    sqlite3.connect(file).execute("CREATE TABLE x (y)")
    with pytest.raises(OutputError, match="is no study of this version"):
        Study(tmp_path)
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(OutputError, match="cannot be used: file is not a database") as error:
        Study(tmp_path)
    assert "\n" not in str(error.value)


def test_what_cannot_be_written_can_be_read(tmp_path, monkeypatch):
    study = new_study(tmp_path)
    rate_all(study, "Ann")
    votes = study.votes()

    def unwritable(folder: Path) -> Study:
        with monkeypatch.context() as patched:
            patched.setattr("os.access", lambda *_, **__: False)  # root may write where the mode says no
            return Study(folder)

    live = unwritable(tmp_path / "out")  # while the page is open, votes are in the log
    assert live.votes() == votes
    live.close()
    study.close()
    there = {each.name: each.read_bytes() for each in (tmp_path / "out").iterdir()}
    assert set(there) == {"votes.sqlite3"}
    study = unwritable(tmp_path / "out")
    assert study.votes() == votes and study.raters() == ["Ann"]
    for act in (lambda: study.enter("Bo"), lambda: study.record("Bo", 1, "ours", all_of("A"), "test")):
        with pytest.raises(OutputError, match="out cannot be written: make it so, or copy it"):
            act()
    study.close()
    assert {each.name: each.read_bytes() for each in (tmp_path / "out").iterdir()} == there
    with monkeypatch.context() as patched, pytest.raises(OutputError, match="out cannot be written"):
        patched.setattr("os.access", lambda *_, **__: False)
        new_study(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="is a file: name a folder"):
        new_study(tmp_path)


def test_a_full_disk_saves_nothing_and_says_so(tmp_path):
    study = new_study(tmp_path, 50)
    study.view(study.enter("Ann"))
    (pages,) = study._db.execute("PRAGMA page_count").fetchone()
    study._db.execute(f"PRAGMA max_page_count = {pages}")
    rater = "R" * 60
    with pytest.raises(OutputError, match="cannot be used: database or disk is full"):
        for place in range(50):
            view = study.view(study.enter(f"{rater[:50]}{place}"))
            assert view is not None
            study.vote(f"{rater[:50]}{place}", view.place, all_of("A"))
    assert len(study.votes()) % 3 == 0 and len(study.votes()) == len(study.history())
    assert study._db.in_transaction is False
