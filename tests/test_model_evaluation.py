"""Results on a model's card: true to the facts, valid for the Hub, and of this model and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from typer import Typer
from typer.testing import CliRunner

from gpt4_instruct import OutputError, UsageError, answer, judge, rouge
from gpt4_instruct.cli.cards import add_commands
from gpt4_instruct.models import find_model
from gpt4_instruct.publishing.evaluation_results import EVALUATION, evaluation_of
from gpt4_instruct.publishing.model_cards import write_model_card
from gpt4_instruct.publishing.model_evaluation import record_evaluation
from gpt4_instruct.publishing.planned_cards import MODELS
from gpt4_instruct.storage import write_json
from tests.endpoint import Endpoint

QUESTIONS = [
    {"instruction": f"Question {number}?", "input": "", "output": f"Right answer {number}."} for number in range(12)
]
RUN = {"steps": 3, "tokens_seen": 30, "seconds": 1.5, "dropped": {}, "pairs": 2, "ties": 0}


def model_folder(folder: Path, card: str = "llama-gpt4.md") -> Path:
    """A folder as a finished run leaves it; its weights are none, which no card reads."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    facts = MODELS[card].facts()
    data = {**facts["data"], "rows": 9, "rejected": {}, "sha256": "0" * 64, "held_out_rows": 0}
    write_json(folder / "training.json", {**facts, **RUN, "data": data})
    write_model_card(folder, json.loads((folder / "training.json").read_text()))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "llama-gpt4")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of a model, named as it is, judged beside a baseline's by a model behind an endpoint, and their ROUGE."""
    place = tmp_path_factory.mktemp("evaluation")
    (place / "questions.json").write_text(json.dumps(QUESTIONS))
    with pytest.MonkeyPatch.context() as patch, Endpoint() as server:
        patch.setenv("GPT4_INSTRUCT_HOME", str(place / "home"))
        patch.setenv("OPENAI_BASE_URL", server.url)
        patch.setenv("OPENAI_API_KEY", server.key)
        server.script = lambda request, count: (
            "8 7\nFor these reasons." if request["model"] == "gpt-4" else f"Right, says {request['model']}."
        )
        for name in ("llama-gpt4", "alpaca"):
            answer(place / "questions.json", f"openai:runs/{name}", place / f"{name}.jsonl")
        judge(place / "llama-gpt4.jsonl", place / "alpaca.jsonl", "openai:gpt-4", place / "judged.jsonl")
        rouge(place / "llama-gpt4.jsonl", place / "rouge.json")
    return place


def facts_of(place: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((place / name).read_text()))


def changed(place: Path, name: str, to: Path, **more: Any) -> Path:
    """A copy of a file of facts, with other values."""
    write_json(to, {**facts_of(place, name), **more})
    return to


def test_results_stand_on_the_card_as_the_facts_have_them(model, measured):
    recorded = record_evaluation(model, measured)
    assert not recorded.warnings and not recorded.left_out
    facts = facts_of(measured, "judged.summary.json")
    score, outcomes = facts["relative_score"], facts["outcomes"]
    text = recorded.card.read_text()
    row = f"| {score['percent']:.1f} % | {score['low']:.1f} to {score['high']:.1f} | 12 | questions.json |"
    assert f"| relative score {row} openai:runs/alpaca | openai:gpt-4 |" in text
    row = f"| {outcomes['win_rate']:.1f} % | {outcomes['interval']['low']:.1f} to {outcomes['interval']['high']:.1f} |"
    assert f"| win rate {row} 12 |" in text
    found = facts_of(measured, "rouge.json")
    assert f"| ROUGE-L (F1) | {found['rougeL']:.3f} |" in text
    assert "nothing was measured" not in text and "How good it is was not measured" not in text
    results = {each.metric_type: each for each in ModelCard(text).data.eval_results}
    assert set(results) == {"relative_score", "win_rate", "rouge1", "rouge2", "rougeL"}
    assert results["relative_score"].metric_value == round(score["percent"], 4)
    assert results["relative_score"].dataset_name == "questions.json"
    assert "against openai:runs/alpaca, by openai:gpt-4 (95% interval" in results["relative_score"].metric_name
    again = ModelCard(str(ModelCard(text))).data.eval_results
    assert again == ModelCard(text).data.eval_results, "as the Hub's library writes it"


def test_a_card_written_anew_keeps_results_of_this_run_and_peoples_words(model, measured):
    card = record_evaluation(model, measured).card
    card.write_text(card.read_text() + "\nMine.\n")
    run = facts_of(model, "training.json")
    write_model_card(model, run)
    assert "relative score" in card.read_text() and card.read_text().endswith("\nMine.\n")
    # Another run in the folder is another model.
    write_json(model / "training.json", {**run, "steps": 4})
    assert evaluation_of(model) == []
    write_model_card(model, {**run, "steps": 4})
    assert "relative score" not in card.read_text() and card.read_text().endswith("\nMine.\n")
    assert ModelCard.load(card).data.eval_results is None
    assert not (model / EVALUATION).exists()


def test_results_of_another_model_are_refused_or_left_out(tmp_path, measured):
    other = model_folder(tmp_path / "other")
    before = (other / "README.md").read_text()
    with pytest.raises(UsageError, match=r"judged\.summary\.json is of openai:runs/llama-gpt4.*--called") as caught:
        record_evaluation(other, measured)
    assert "\n" not in str(caught.value)
    # Nor is the baseline of a comparison what it measures.
    with pytest.raises(UsageError, match="nothing there measures alpaca"):
        record_evaluation(model_folder(tmp_path / "alpaca"), measured / "judged.summary.json")
    assert (other / "README.md").read_text() == before and not (other / EVALUATION).exists()
    recorded = record_evaluation(other, measured, called="llama-gpt4")
    assert len(recorded.results) == 5
    mine = changed(measured, "rouge.json", tmp_path / "mine.json", answers={"model": "local:other", "file": "x.jsonl"})
    recorded = record_evaluation(other, [measured, mine])
    assert {each["file"] for each in recorded.results} == {"mine.json"}
    assert recorded.left_out == dict.fromkeys(["judged.summary.json", "rouge.json"], "openai:runs/llama-gpt4")


def test_it_is_told_where_the_model_is_not_known_or_has_changed(model, measured, tmp_path):
    side = {"model": "", "file": "some.jsonl"}
    unknown = changed(measured, "rouge.json", tmp_path / "unknown.json", answers=side)
    recorded = record_evaluation(model, unknown)
    assert recorded.warnings == ["unknown.json does not say whose answers it is of: it was taken for this model's"]
    assert "those of unknown.json" in recorded.card.read_text()
    # With the summary of the answers, it is known, down to the files.
    teacher = {"spec": "local:llama-gpt4", "endpoint": "local", "model": find_model(str(model))[2]}
    summary = changed(measured, "llama-gpt4.summary.json", tmp_path / "some.summary.json", teacher=teacher)
    assert record_evaluation(model, [unknown, summary]).warnings == []
    (model / "model.safetensors").write_bytes(b"other weights")
    (warning,) = record_evaluation(model, [unknown, summary]).warnings
    assert f"unknown.json is of {teacher['model']}, but the model is llama-gpt4@" in warning
    changed(measured, "llama-gpt4.summary.json", summary, teacher={**teacher, "spec": "local:alpaca"})
    with pytest.raises(UsageError, match=r"unknown\.json is of local:alpaca"):
        record_evaluation(model, [unknown, summary])


def test_votes_of_people_and_ranked_answers(model, tmp_path):
    shares = {"votes": 6, "share": 0.6, "low": 0.3, "high": 0.8}
    counted = {"n": 10, "interval": "wilson", "alpha": None, "ours": shares, "baseline": shares, "tie": shares}
    write_json(
        tmp_path / "tally.json",
        {"level": 0.9, "ours": "a/llama-gpt4.jsonl", "baseline": "/home/me/alpaca.jsonl", "raters": {"Ann": {}},
         "criteria": {"helpfulness": counted}},
    )  # fmt: skip
    score = {"percent": 90.0, "model_sum": 9, "baseline_sum": 10, "low": None, "high": None, "level": 0.95}
    write_json(
        tmp_path / "groups.summary.json",
        {"teacher": "openai:gpt-4", "answers": "ranked.jsonl", "baseline": "b.jsonl",
         "groups": {"1": {"judged": 3, "questions": 3, "relative_score": score, "outcomes": None}}},
    )  # fmt: skip
    recorded = record_evaluation(model, tmp_path)
    text = recorded.card.read_text()
    assert (
        "| votes for it, helpfulness | 60.0 % | 30.0 to 80.0 | 10 | those of tally.json | alpaca | 1 person |" in text
    )
    assert "| relative score, answers of rank 1 by reward | 90.0 % | - | 3 |" in text
    assert "(90% interval 30.0 to 80.0; n = 10)" in text and "/home/me" not in text
    assert len(recorded.warnings) == 2


def test_a_reward_models_rank_is_its_own(tmp_path, measured):
    reward = model_folder(tmp_path / "reward", "reward-opt-1.3b.md")
    ranked = {"reward_model": {"name": "reward", "identity": find_model(str(reward))[2]}, "compared": 4}
    write_json(tmp_path / "ranked.summary.json", {**ranked, "best_of": {"1": 0.5, "2": 0.75}, "by_rank": {"1": 0.75}})
    recorded = record_evaluation(reward, [tmp_path / "ranked.summary.json", measured])
    assert [each["value"] for each in recorded.results] == [0.5, 0.75] and not recorded.warnings
    assert "| mean reward of the best of 2 | 0.750 | - | 4 |" in recorded.card.read_text()
    with pytest.raises(UsageError, match="nothing there measures reward: name what rank wrote"):
        record_evaluation(reward, measured)


def test_what_is_none_is_one_line(model, measured, tmp_path):
    with pytest.raises(UsageError, match="holds no model that gpt4-instruct train tuned"):
        record_evaluation(tmp_path, measured)
    with pytest.raises(OutputError, match="does not exist"):
        record_evaluation(model, tmp_path / "none")
    broken = changed(measured, "rouge.json", tmp_path / "broken.json", buckets=[])
    with pytest.raises(OutputError, match="is not as gpt4-instruct writes it"):
        record_evaluation(model, broken)


def test_a_file_of_that_name_that_is_somebodys_stays(model):
    (model / EVALUATION).write_text('{"mine": 1}')
    write_model_card(model, facts_of(model, "training.json"))
    assert (model / EVALUATION).read_text() == '{"mine": 1}'


def test_the_empty_form_that_peft_leaves_is_no_hand_written_part(model):
    (model / "README.md").write_text(
        "---\nlibrary_name: peft\n---\n\n# Model Card for Model ID\n\n[More Information Needed]\n"
    )
    write_model_card(model, facts_of(model, "training.json"))
    assert "More Information Needed" not in (model / "README.md").read_text()


def test_the_command(model, measured):
    app = Typer()
    add_commands(app)
    app.callback()(lambda: None)  # so that the command has its name
    done = CliRunner().invoke(app, ["card", str(model), "--evaluation", str(measured)])
    assert done.exit_code == 0, done.output
    assert "relative score" in done.output and str(model / "README.md") in done.output.replace("\n", "")
    assert len(evaluation_of(model)) == 5
