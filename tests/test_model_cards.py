"""Cards of tuned models: valid for the Hub, true to the run, with code that runs, and nobody's folders in them."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from gpt4_instruct.figures.training import draw_training
from gpt4_instruct.prompts.tasks import ALPACA, ALPACA_NO_INPUT
from gpt4_instruct.publishing.model_cards import render_model_card, write_model_card
from gpt4_instruct.publishing.origins import origin_of
from gpt4_instruct.publishing.planned_cards import MODELS, render_planned_cards
from gpt4_instruct.publishing.run_tables import settings_table
from gpt4_instruct.training.recipes import REWARD_RECIPES, SFT_RECIPES, LoRA, RewardRecipe, SFTRecipe
from tests.tiny import needs_training, rows, scored_rows, tiny_model

MODEL_CARDS = Path(__file__).parents[1] / "model_cards"
SMALL = {"max_length": 256, "batch_size": 8, "device_batch": 8, "precision": "fp32", "held_out": 0.2, "epochs": 1.0}
# A home, a user, a folder: none of these may be on a card.
PRIVATE = "somebody-s-home"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A supervised run on rows of a file deep in somebody's folders, and its model's folder with the card."""
    pytest.importorskip("accelerate")
    from gpt4_instruct.tuning import train_sft

    home = tmp_path_factory.mktemp("x") / PRIVATE
    home.mkdir()
    base = tiny_model(home / "tiny-llama", "llama")
    data = home / "my_rows.jsonl"
    broken = [{"instruction": "nothing else"}, {"instruction": "Empty.", "input": "", "output": ""}]
    long = {"instruction": "Too long.", "input": "", "output": "木" * 400}
    data.write_text("\n".join(json.dumps(each) for each in [*rows(40), *broken, long, {"output": "?"}]))
    recipe = SFTRecipe(**SMALL, model=str(base))
    return train_sft(data, home / "out", recipe=recipe)


@pytest.fixture(scope="module")
def reward(tmp_path_factory):
    """A reward model's run."""
    pytest.importorskip("accelerate")
    from gpt4_instruct.tuning import train_reward

    home = tmp_path_factory.mktemp("x") / PRIVATE
    home.mkdir()
    base = tiny_model(home / "tiny-opt", "opt")
    return train_reward(scored_rows(24), home / "out", model=str(base), recipe=RewardRecipe(**SMALL, margin=0.1))


def card_of(trained):
    return (trained.folder / "README.md").read_text(encoding="utf-8")


def blocks(card, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)


def facts_of(trained, **changed):
    """Its facts, as read from its file, with some of `data`'s or `base`'s fields changed."""
    facts = json.loads((trained.folder / "training.json").read_text(encoding="utf-8"))
    for name, value in changed.items():
        facts[name] = {**facts[name], **value} if isinstance(value, dict) else value
    return facts


def cell(card, name):
    return re.search(rf"^\| {re.escape(name)} \| (.*?) \|$", card, re.MULTILINE)[1]


@needs_training
def test_the_metadata_is_the_hubs(tuned, reward):
    data = ModelCard(card_of(tuned)).data
    assert data.pipeline_tag == "text-generation"
    assert data["library_name"] == "transformers"
    assert data.license == "unknown", "neither the base model's nor the data's is known"
    assert data.get("base_model") is None, "a folder here is no id on the Hub"
    assert "alpaca" in data.tags
    (loss, perplexity) = data.eval_results
    assert loss.metric_value == pytest.approx(tuned.facts["held_out"]["loss"], abs=1e-4)
    assert perplexity.metric_value == pytest.approx(math.exp(tuned.facts["held_out"]["loss"]), abs=1e-3)
    data = ModelCard(card_of(reward)).data
    assert data.pipeline_tag == "text-classification"
    assert {each.metric_type: each.metric_value for each in data.eval_results}["accuracy"] == pytest.approx(
        reward.facts["held_out"]["accuracy"], abs=1e-4
    )


@needs_training
def test_a_base_and_data_of_the_hub_are_linked(tuned):
    facts = facts_of(
        tuned, base={"name": "org/base", "licence": "apache-2.0"}, data={"name": "hub:org/rows@abc:english"}
    )
    card = render_model_card(facts)
    data = ModelCard(card).data
    assert (data.base_model, data["base_model_relation"], data.datasets) == ("org/base", "finetune", ["org/rows"])
    assert data.license == "unknown", "the data's is not read"
    assert "](https://huggingface.co/org/base)" in card
    assert "](https://huggingface.co/datasets/org/rows)" in card
    adapters = ModelCard(render_model_card(facts, whole=False)).data
    assert (adapters["base_model_relation"], adapters["library_name"]) == ("adapter", "peft")


@needs_training
def test_the_numbers_are_the_runs(tuned):
    facts, card = tuned.facts, card_of(tuned)
    tokens, log = facts["tokens"], facts["log"]
    assert cell(card, "rows read") == str(facts["data"]["rows"])
    assert cell(card, "held out") == str(facts["data"]["held_out_rows"])
    assert cell(card, "learnt from") == str(tokens["rows"] - tokens.get("dropped_no_answer", 0))
    assert cell(card, "tokens") == f"{tokens['tokens']:,}, of which are learnt {tokens['supervised_tokens']:,}"
    assert cell(card, "SHA-256 of what was read") == f"`{facts['data']['sha256']}`"
    assert cell(card, "steps") == str(facts["steps"])
    assert cell(card, "tokens seen") == f"{facts['tokens_seen']:,}"
    steps = [each for each in log if "loss" in each]
    measured = [each for each in log if "eval_loss" in each]
    assert cell(card, "of a step, nats a token") == (
        f"{steps[0]['loss']:.4f} (step 1) | {steps[-1]['loss']:.4f} (step {facts['steps']})"
    )
    assert cell(card, "loss") == f"{measured[0]['eval_loss']:.4f} | {measured[-1]['eval_loss']:.4f}"
    assert cell(card, "not read: missing field") == str(facts["data"]["rejected"]["missing_field"]) == "1"
    assert cell(card, "left out: no answer") == str(tokens["dropped_no_answer"])
    assert cell(card, "cut at the end: too long") == str(tokens["truncated"])
    # What was done in all steps, over the seconds in them.
    seconds = sum(
        (each["num_input_tokens_seen"] - before) / each["tokens_per_second"]
        for each, before in zip(steps, [0, *(each["num_input_tokens_seen"] for each in steps)], strict=False)
    )
    assert cell(card, "tokens a second") == f"{facts['tokens_seen'] / seconds:,.1f}"
    assert "TFLOP/s a device (measured: 1,024 x 1,024 matrices in fp32)" in cell(card, "MFU")
    assert "not run yet" not in card
    assert "None" not in card
    assert "{{" not in card


@needs_training
def test_the_numbers_of_a_reward_model_are_the_runs(reward):
    facts, card = reward.facts, card_of(reward)
    assert cell(card, "prompts read") == str(facts["data"]["rows"])
    assert cell(card, "pairs with a better and a worse answer") == str(facts["pairs"])
    assert cell(card, "pairs of equal scores, which teach nothing") == str(facts["ties"])
    before, after = (
        [each["eval_accuracy"] for each in facts["log"] if "eval_accuracy" in each][place] for place in (0, -1)
    )
    assert cell(card, "accuracy, over all pairs") == f"{before:.1%} | {after:.1%}"
    for each in facts["held_out"]["accuracy_by_gap"]:
        low, high = each["from"], each["to"]
        name = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        assert cell(card, name) == f"{each['pairs']} | {each['accuracy']:.1%}"
    for each in facts["held_out"]["calibration"]:
        assert cell(card, f"{each['from']:.0%} to {each['to']:.0%}") == (
            f"{each['pairs']} | {each['confidence']:.1%} | {each['accuracy']:.1%}"
        )
    assert "- margin x difference of their scores" in card
    assert cell(card, "margin") == "0.1 for each point of a score"
    assert "not run yet" not in card
    assert "None" not in card


@needs_training
def test_the_template_stands_there_byte_for_byte(tuned):
    assert blocks(card_of(tuned), "text") == [f"{ALPACA}\n", f"{ALPACA_NO_INPUT}\n"]
    own = render_model_card({**tuned.facts, "template": "chat"})
    assert not blocks(own, "text")
    assert "alpaca" not in ModelCard(own).data.tags


def run(code, folder):
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(code.replace("PATH_OR_REPOSITORY", str(folder)), "card", "exec"), {"__name__": "card"})
    return printed.getvalue()


@needs_training
def test_the_cards_code_asks_the_model(tuned, monkeypatch):
    import transformers

    prompts = []
    real = transformers.GenerationMixin.generate

    def generate(self, input_ids=None, **options):
        prompts.append(input_ids)
        return real(self, input_ids, **{**options, "max_new_tokens": 3})

    monkeypatch.setattr(transformers.GenerationMixin, "generate", generate)
    (code,) = blocks(card_of(tuned), "python")
    run(code, tuned.folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tuned.folder)
    asked = "<s>" + ALPACA_NO_INPUT.replace("{instruction}", "Name the largest planet.")
    assert tokenizer.decode(prompts[0][0]) == asked
    with_input = re.search(r'`(\{"role": "user".*?\})`', card_of(tuned))[1]
    run(re.sub(r"\[\{.*?\}\]", f"[{with_input}]", code), tuned.folder)
    asked = "<s>" + ALPACA.replace("{instruction}", "Put this into the plural.").replace("{input}", "the mouse")
    assert tokenizer.decode(prompts[1][0]) == asked


@needs_training
def test_the_cards_code_scores_answers_and_both_ways_agree(reward):
    ours, plain = blocks(card_of(reward), "python")
    one, other = (json.loads(run(code, reward.folder)) for code in (ours, plain))
    assert len(one) == 2
    assert one == pytest.approx(other, abs=1e-4)
    assert one[0] != pytest.approx(one[1], abs=1e-6), "two answers, two rewards"


@needs_training
def test_no_folder_of_anybody_is_on_a_card(tuned, reward):
    for trained in (tuned, reward):
        for file in ("README.md", "training.svg"):
            text = (trained.folder / file).read_text(encoding="utf-8")
            assert PRIVATE not in text
            assert str(trained.folder) not in text
    assert PRIVATE not in json.dumps(tuned.facts)  # though the recipe's base model is a path
    for name in (
        f"hub:/home/{PRIVATE}/data",
        f"hub:~/{PRIVATE}/data:english",
        f"C:\\{PRIVATE}\\data",
        f"./{PRIVATE}/d",
    ):
        card = render_model_card(facts_of(tuned, data={"name": name}))
        assert PRIVATE not in card, name
        assert ModelCard(card).data.datasets is None


@needs_training
def test_the_card_and_its_figure_are_written_whole(tuned, tmp_path, monkeypatch):
    assert (tuned.folder / "training.png").stat().st_size > 10_000
    assert "](training.png)" in card_of(tuned)
    assert not list(tuned.folder.glob(".*")), "nothing half-written is left"
    # Without matplotlib there is a card all the same.
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    card = write_model_card(tmp_path / "new", tuned.facts)
    assert card == tmp_path / "new" / "README.md"
    assert "training.png" not in card.read_text(encoding="utf-8")
    assert [each.name for each in card.parent.iterdir()] == ["README.md"]


@needs_training
def test_a_run_without_anything_held_out_says_so(tuned):
    log = [each for each in tuned.facts["log"] if "eval_loss" not in each]
    card = render_model_card({**facts_of(tuned, data={"held_out_rows": 0}), "log": log, "held_out": None})
    assert "Nothing was held out, so nothing was measured." in card
    assert ModelCard(card).data.eval_results is None
    other = render_model_card(facts_of(tuned, data={"held_out_rows": 7}))
    assert "of other data, named for that" in other
    assert "whose prompts are not among those learnt from" not in other
    assert "whose prompts are not among those learnt from" in card_of(tuned)


@needs_training
def test_what_was_measured_is_told_and_not_what_was_held_out(tuned, reward):
    for trained, unit in ((tuned, "rows"), (reward, "prompts")):
        told = facts_of(trained)["data"]
        assert told["held_out_measured"] == told["held_out_rows"] - sum(told["held_out_left_out"].values())
        found = re.search(rf"^On (\d+) held-out {unit}(.*?), ", card_of(trained), re.MULTILINE)
        assert int(found[1]) == told["held_out_measured"]
        assert bool(found[2]) == bool(told["held_out_left_out"])
    missing = {"held_out_measured": 5, "held_out_left_out": {"no_answer": 1, "too_long": 2}}
    assert "\nOn 5 held-out rows (3 left out: 1 no answer, 2 too long), whose" in render_model_card(
        facts_of(tuned, data=missing)
    )
    other = render_model_card(facts_of(tuned, data={**missing, "held_out_rows": 7777}))
    assert "\nOn 5 rows (3 left out: 1 no answer, 2 too long) of other data, named for that." in other
    log = [each for each in tuned.facts["log"] if "eval_loss" not in each]
    none = {"held_out_rows": 3, "held_out_measured": 0, "held_out_left_out": {"too_long": 3}}
    card = render_model_card({**facts_of(tuned, data=none), "log": log, "held_out": None})
    assert "of 3 held-out rows none has anything to predict (3 left out: 3 too long)." in card
    assert "Nothing was held out" not in card
    earlier = facts_of(tuned)
    for name in missing:
        del earlier["data"][name]
    assert f"\nOn {earlier['data']['held_out_rows']} held-out rows, whose" in render_model_card(earlier)


@needs_training
def test_epochs_that_steps_end_are_those_of_the_log(tmp_path):
    from gpt4_instruct.tuning import train_sft

    base = str(tiny_model(tmp_path / "base"))
    some = [{"instruction": f"Name number {number}.", "input": "", "output": f"{number}."} for number in range(40)]
    recipe = SFTRecipe(**{**SMALL, "held_out": 0.0}, max_steps=9)
    card = card_of(train_sft(some, tmp_path / "out", model=base, recipe=recipe))
    assert cell(card, "epochs") == "as many as 9 steps take: 1.8"
    assert cell(card, "batch") == "8 rows a step, 8 at once on a device"


@needs_training
def test_the_rows_of_a_step_of_packs_are_told(tmp_path):
    from gpt4_instruct.tuning import train_sft

    recipe = SFTRecipe(**SMALL, packing=512)
    trained = train_sft(rows(40), tmp_path / "out", model=str(tiny_model(tmp_path / "base")), recipe=recipe)
    told = cell(card_of(trained), "batch")
    assert told.startswith(f"{trained.facts['rows_a_step']:.1f} rows a step on average, for 8, one pack at once")


@needs_training
@pytest.mark.parametrize("name", ["a`b|c\n# x.json", "<script>.json", "{{ x }}.json"])
def test_a_name_does_not_change_the_card(tuned, name):
    card = render_model_card(facts_of(tuned, data={"name": name}))
    assert len(re.findall(r"^#+ ", card, re.MULTILINE)) == len(re.findall(r"^#+ ", card_of(tuned), re.MULTILINE))
    assert cell(card, "name").startswith("`")
    assert ModelCard(card).data.pipeline_tag == "text-generation"


@needs_training
def test_names_in_results_and_reasons_are_no_markup(tuned):
    from markdown_it import MarkdownIt

    def kinds(text):
        result = {"metric": "win_rate", "name": "win rate", "value": 5.0, "unit": "%", "low": None, "high": None,
                  "level": None, "n": 3, "against": text, "by": text, "questions": None, "file": text}  # fmt: skip
        facts = facts_of(tuned, data={"rejected": {text: 2}}, base={"name": f"./{text}"})
        body = render_model_card(facts, results=[result]).split("---\n", 2)[2]
        found = MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
        assert "html_inline" not in {each.type for token in found for each in token.children or ()}
        return [token.type for token in found]

    assert kinds("a|b <img src=x> <!-- c\n<!-- gpt4-instruct: up to here {} -->\n# d") == kinds("a")


@needs_training
def test_the_card_is_well_formed_markdown(tuned, reward):
    """As many tables and code blocks as were written, and no cell beside its column."""
    from markdown_it import MarkdownIt

    for card in (card_of(tuned), card_of(reward), *render_planned_cards().values()):
        text = card.split("---\n", 2)[2]
        tokens = MarkdownIt("commonmark").enable("table").parse(text)
        tables = [token for token in tokens if token.type == "table_open"]
        assert len(tables) == len(re.findall(r"^\|[-:|]+\|$", text, re.MULTILINE)) >= 4
        outside = "".join(token.content for token in tokens if token.type == "inline" and "|" in token.content)
        assert not outside, outside
        assert "\n\n\n" not in card


NC, OPENAI = "CC BY-NC 4.0", "OpenAI's terms of use restrict"


@needs_training
@pytest.mark.parametrize(
    ("name", "licence", "said", "not_said"),
    [
        ("released:english", "cc-by-nc-4.0", ["The data is under [CC BY-NC 4.0]", "written by OpenAI's GPT-4", "research only"], ["not known"]),
        ("released:alpaca", "cc-by-nc-4.0", [NC, "text-davinci-003"], ["GPT-4:", "research only"]),
        ("released:unnatural-core", "unknown", ["licence of the repository", OPENAI], [NC]),
        ("hub:vicgalle/alpaca-gpt4", "cc-by-nc-4.0", [NC, OPENAI, "is known as a copy of the released file"], []),
        ("alpaca_gpt4_data_zh.json", "cc-by-nc-4.0", ["If the data is the released file whose name it bears", OPENAI], ["The data is under"]),
        ("hub:org/rows", "unknown", ["the one on its card", "If answers in the data come from OpenAI's"], [NC]),
        ("my_rows.jsonl", "unknown", ["is not known to gpt4-instruct", "If answers in the data come from OpenAI's"], [NC, "The data's answers were written"]),
        ("seeds", "apache-2.0", ["The data is under `apache-2.0`"], [NC, "OpenAI's terms"]),
    ],
)  # fmt: skip
def test_terms_are_those_of_the_data_and_no_more(tuned, name, licence, said, not_said):
    facts = facts_of(tuned, base={"name": "org/base", "licence": "apache-2.0"}, data={"name": name})
    card = render_model_card(facts)
    assert ModelCard(card).data.license == licence
    terms = " ".join(card.split())
    for text in said:
        assert text in terms
    for text in not_said:
        assert text not in terms, text
    unknown = render_model_card({**facts, "base": {**facts["base"], "licence": None}})
    assert ModelCard(unknown).data.license == "unknown"
    assert "Its licence is not known to this card" in unknown


def test_a_file_is_not_taken_for_another_one():
    assert origin_of("my_alpaca_gpt4_data.json").kind == "other"
    assert origin_of("released:mine").kind == "other"
    assert origin_of("hub:org/alpaca-gpt4").kind == "hub"
    assert origin_of("dataset:english").kind == "other"


@pytest.mark.parametrize(("kind", "recipe"), [("sft", SFTRecipe()), ("reward", RewardRecipe())])
def test_a_card_tells_every_setting(kind, recipe):
    """Another value of any field of a recipe changes what the card says; but the model's name, which it says above,
    and what decides nothing."""
    plain = settings_table(dataclasses.asdict(recipe), kind)
    others = {"precision": "fp32", "lora": LoRA(), "checkpointing": True, "held_out": 0.5, "warmup": 0.5}
    others |= {"max_steps": 7, "save_steps": 7, "packing": 2048}
    for field in dataclasses.fields(recipe):
        if field.name in ("model", "template", "keep_checkpoints"):
            continue
        value = others.get(field.name, 7)
        other = settings_table(dataclasses.asdict(dataclasses.replace(recipe, **{field.name: value})), kind)
        assert other != plain, field.name


@needs_training
def test_the_optimizer_is_the_one_that_is_told():
    from transformers import TrainingArguments

    plain = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    assert (plain["adam_beta1"], plain["adam_beta2"], plain["max_grad_norm"]) == (0.9, 0.999, 1.0)
    assert "adamw" in TrainingArguments().optim


def test_adapters_are_told(tmp_path):
    facts = {
        **json.loads(json.dumps(PLANNED_FACTS)),
        "recipe": dataclasses.asdict(dataclasses.replace(SFT_RECIPES["llama-gpt4"], lora=LoRA())),
    }
    assert "which are merged into the weights" in render_model_card(facts)
    assert "which this folder holds" in render_model_card(facts, whole=False)
    assert "lora" in ModelCard(render_model_card(facts)).data.tags
    (tmp_path / "adapter_config.json").write_text("{}")
    assert ModelCard.load(write_model_card(tmp_path, facts)).data["library_name"] == "peft"


PLANNED_FACTS = {
    "kind": "sft",
    "base": {"name": "org/base", "identity": None, "licence": None, "parameters": None},
    "data": {
        "name": "rows",
        "rows": None,
        "rejected": None,
        "sha256": None,
        "languages": ["en"],
        "held_out_rows": None,
    },
    "tokens": {},
    "template": "alpaca",
    "recipe": dataclasses.asdict(SFT_RECIPES["llama-gpt4"]),
    "log": [],
    **dict.fromkeys(("steps", "tokens_seen", "seconds", "hardware", "held_out")),
}


def test_the_published_cards_are_those_that_are_rendered():
    """make cards"""
    cards = render_planned_cards()
    assert {each.name: each.read_text(encoding="utf-8") for each in MODEL_CARDS.glob("*.md")} == cards


def test_one_line_renders_them_anew(tmp_path):
    subprocess.run([sys.executable, "-m", "gpt4_instruct.publishing.planned_cards", tmp_path / "new"], check=True)
    assert {
        each.name: each.read_text(encoding="utf-8") for each in (tmp_path / "new").iterdir()
    } == render_planned_cards()


@pytest.mark.parametrize("name", list(MODELS))
def test_a_run_that_was_not_made_has_no_numbers(name):
    card = render_planned_cards()[name]
    recipe = REWARD_RECIPES["opt-1.3b"] if name.startswith("reward") else SFT_RECIPES[name.removesuffix(".md")]
    assert ModelCard(card).data.base_model == recipe.model
    assert ModelCard(card).data.eval_results is None
    assert "**Not run yet.**" in card
    assert NC in card
    assert OPENAI in " ".join(card.split())
    told = card.partition("## How it was tuned")[0], card.partition("| run | |")[2].partition("## Limits")[0]
    for section in (told[0].partition("## Base model")[2].partition("## Template")[0], told[1]):
        for line in section.splitlines():
            if line.startswith("| ") and not line.startswith(("| name", "| |", "| run")):
                cells = [each.strip() for each in line.strip("|").split("|")][1:]
                heads = ("first", "last", "before tuning", "after", "pairs", "accuracy", "sure on average")
                assert all("*not run yet*" in each or each in heads for each in cells), line
    assert not re.search(r"\d%|\d s\b|TFLOP", told[1])


# --- the figure -----------------------------------------------------------------------------------------------------


def run_of(steps, every=None):
    """The log of a run whose loss falls to 1.2, measured every so many steps."""
    log = [
        {"loss": 1.2 + 2 * math.exp(-6 * step / steps) + step % 7 / 50, "step": step} for step in range(1, steps + 1)
    ]
    if every:
        log += [
            {"eval_loss": 1.3 + 1.8 * math.exp(-6 * step / steps), "step": step} for step in range(0, steps + 1, every)
        ]
    return {"kind": "sft", "log": log}


def paths(svg):
    """How many points each line of a picture has, as drawn."""
    return [len(re.findall(r"[ML] ", found)) for found in re.findall(r' d="(.*?)"', svg, re.DOTALL)]


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (2, None), (300, 50), (2_438, 813), (100_000, 2_000)])
def test_the_curve_can_be_read_however_long_the_run_is(tmp_path, steps, every):
    imread = pytest.importorskip("matplotlib.image").imread
    png, svg = draw_training(run_of(steps, every), tmp_path)
    pixels = imread(png)[..., :3]
    inked = (pixels < 0.97).any(axis=2)
    assert 0.01 < inked.mean() < 0.5
    assert not any(edge.any() for edge in (inked[0], inked[-1], inked[:, 0], inked[:, -1])), "nothing is cut off"
    text = svg.read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert f"to {1.2 + 2 * math.exp(-6) + steps % 7 / 50:.3f} at step {steps:,}" in text
    assert ("held out" in text) == (every is not None)


def test_a_single_bad_step_of_a_long_run_is_seen_and_does_not_hide_the_others(tmp_path):
    pytest.importorskip("matplotlib")
    facts = run_of(50_000, 10_000)
    facts["log"][31_234]["loss"] = 900.0
    _, svg = draw_training(facts, tmp_path)
    assert "lowest and highest of each 125 steps" in svg.read_text(encoding="utf-8")
    facts["log"] += [{"loss": math.nan, "step": 50_001}, {"train_runtime": 3.0, "step": 50_001}]
    assert draw_training(facts, tmp_path), "what is no number is left out"


def test_the_same_log_gives_the_same_files_and_none_gives_none(tmp_path):
    pytest.importorskip("matplotlib")
    first = [each.read_bytes() for each in draw_training(run_of(30, 10), tmp_path)]
    assert first == [each.read_bytes() for each in draw_training(run_of(30, 10), tmp_path)]
    assert draw_training({"kind": "sft", "log": []}, tmp_path / "new") == []
    assert not (tmp_path / "new").exists()
