"""Reward models: the loss of pairs, whatever the batches; rewards that are the same wherever an answer is scored."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

import pytest

from gpt4_instruct.errors import OutputExistsError, SourceError, UsageError
from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.training import reward
from gpt4_instruct.training.data import read
from gpt4_instruct.training.loading import find_base, load_reward, load_tokenizer
from gpt4_instruct.training.pairs import encode_pairs, pair_batch, pair_losses
from gpt4_instruct.training.recipes import REWARD_RECIPES, LoRA, RewardRecipe, changed
from gpt4_instruct.training.reward import run_reward
from gpt4_instruct.training.scoring import RewardModel, give_all_rewards, has_token_head, rewards
from tests.smollm2 import free_port, installed, needs_smollm2
from tests.tiny import FAMILIES, needs_training, rows, scored_rows, tiny_model, tiny_tokenizer

pytestmark = needs_training

TINY = RewardRecipe(
    max_length=200,
    epochs=2,
    learning_rate=3e-3,
    batch_size=8,
    device_batch=4,
    precision="fp32",
    held_out=0.25,
)
LEARN = replace(TINY, learning_rate=2e-3, epochs=6)
TEXTS = [("Name a planet.", "", f"Mars{'!' * (7 * number)}") for number in range(9)] + [
    ("说出行星。", "两颗", "木星。")
]


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny models are slower with more, and much slower where another process wants them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Of each family, a model trained once."""
    made = {}

    def make(family: str):
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            made[family] = run_reward(
                scored_rows(48),
                folder / "out",
                model=str(tiny_model(folder / "base", family)),
                plan=LEARN,
            )
        return made[family]

    return make


def losses(facts):
    return [each["loss"] for each in facts["log"] if "loss" in each]


def bloom(folder):
    """A model whose attention cannot keep texts apart."""
    import torch
    from transformers import BloomConfig, BloomForCausalLM

    torch.manual_seed(0)
    config = BloomConfig(vocab_size=800, hidden_size=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=1)
    BloomForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer("llama").save_pretrained(folder)
    return folder


def model_and_rows(folder, count=6):
    from gpt4_instruct.training.attention import separate_rows

    base = find_base(str(folder))
    tokenizer = load_tokenizer(base.folder)
    model = load_reward(base, tokenizer)
    flat = separate_rows(model, 200)
    give_all_rewards(model)
    encoded = encode_pairs(read(scored_rows(count), scored=True).samples, tokenizer, 200)
    return model, list(encoded), None if flat else tokenizer.pad_token_id


def plain_rewards(model, ids):
    """One text at a time, without anything of ours."""
    import torch

    return torch.stack([model(input_ids=torch.tensor([each])).logits[0, 0] for each in ids])


def texts_of(row):
    cuts = [sum(row["lengths"][:place]) for place in range(len(row["lengths"]))]
    return [row["input_ids"][start : start + size] for start, size in zip(cuts, row["lengths"], strict=True)]


# --- loss and gradient ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*FAMILIES, "bloom"])
@pytest.mark.parametrize("margin, centering", [(0.0, 0.0), (0.2, 0.05)])
def test_loss_and_gradient_are_those_of_the_formula_on_single_texts(tmp_path, family, margin, centering):
    import torch
    from transformers import AutoModelForSequenceClassification

    folder = bloom(tmp_path) if family == "bloom" else tiny_model(tmp_path, family)
    torch.manual_seed(1)
    model, found, pad = model_and_rows(folder)
    assert (pad is None) == (family != "bloom")
    plain = AutoModelForSequenceClassification.from_config(model.config)
    plain.load_state_dict(model.state_dict())
    batch = pair_batch(found, pad)
    ours = rewards(model, {name: batch[name] for name in batch if name not in ("better", "worse", "gaps", "labels")})
    better, worse = ours[batch["better"]], ours[batch["worse"]]
    loss = pair_losses(better, worse, batch["gaps"], margin=margin, centering=centering).mean()
    loss.backward()

    terms = []
    for row in found:
        alone = plain_rewards(plain, texts_of(row))
        for better, worse, gap in zip(row["better"], row["worse"], row["gaps"], strict=True):
            one, other = alone[better], alone[worse]
            odds = 1 / (1 + torch.exp(-(one - other - margin * gap)))
            terms.append(-torch.log(odds) + centering * (one + other) ** 2)
    expected = sum(terms) / len(terms)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    for (name, mine), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        if theirs.grad is None:
            assert mine.grad is None or not mine.grad.any(), name
        else:
            torch.testing.assert_close(mine.grad, theirs.grad, atol=2e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_another_answer_beside_it_changes_no_reward(tmp_path, family):
    import torch

    model, (row, *_), pad = model_and_rows(tiny_model(tmp_path, family))
    first, second, third = texts_of(row)

    def score(*texts):
        batch = pair_batch([{**row, "input_ids": list(chain(*texts)), "lengths": [len(each) for each in texts]}], pad)
        with torch.no_grad():
            kept = {name: batch[name] for name in batch if name not in ("better", "worse", "gaps", "labels")}
            return rewards(model, kept).tolist()

    before = score(first, second, third)
    after = score(first, [*second[:-1], 99], third)
    assert (before[0], before[2]) == (after[0], after[2]) and before[1] != after[1]
    assert score(first)[0] == pytest.approx(before[0], abs=1e-6)


def test_a_step_is_the_same_however_it_is_parted(tmp_path):
    """Batches have different numbers of pairs, so the mean of their means would be another loss."""
    import torch
    from safetensors.torch import load_file

    base = tiny_model(tmp_path / "base")
    found = []
    for device_batch in (8, 4, 2):
        out = tmp_path / str(device_batch)
        plan = replace(TINY, device_batch=device_batch, margin=0.1, centering=0.01)
        facts = run_reward(scored_rows(29), out, model=str(base), plan=plan).facts
        norms = [each["grad_norm"] for each in facts["log"] if "grad_norm" in each]
        found.append((losses(facts), norms, load_file(out / "model.safetensors"), facts["held_out"]))
    (first, norms, weights, held), *others = found
    assert facts["pairs"] % facts["tokens"]["rows"], "every prompt had as many pairs, so nothing was tried"
    for other, other_norms, other_weights, other_held in others:
        assert other == pytest.approx(first, abs=1e-6)
        assert other_norms == pytest.approx(norms, rel=1e-4)
        assert other_held["loss"] == pytest.approx(held["loss"], abs=1e-5)
        for name, weight in weights.items():
            torch.testing.assert_close(other_weights[name], weight, atol=1e-4, rtol=1e-3)


@pytest.mark.skipif(not installed("trl"), reason="pip install trl")
# In bfloat16 the rate is low enough for two ways of rounding to stay together.
@pytest.mark.parametrize("precision, rate", [("fp32", 1e-3), ("bf16", 5e-4)])
def test_losses_equal_trls(tmp_path, precision, rate):
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    base, data = tiny_model(tmp_path / "base"), scored_rows(48)
    for row in data:
        row["responses_and_scores"] = row["responses_and_scores"][::2]
    plan = replace(TINY, epochs=20, max_steps=20, held_out=0.0, precision=precision, learning_rate=rate)
    mine = losses(run_reward(data, tmp_path / "ours", model=str(base), plan=plan).facts)

    tokenizer = tiny_tokenizer("llama")
    reads = [
        [tokenizer(render_alpaca(each["user_input"]) + one["response"])["input_ids"] + [tokenizer.eos_token_id]
         for one in each["responses_and_scores"]]
        for each in data
    ]  # fmt: skip
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    import torch

    torch.manual_seed(plan.seed)  # of the head
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=8)
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(
            output_dir=str(tmp_path / "theirs"),
            max_steps=20,
            learning_rate=rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.03,
            weight_decay=0.0,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            max_length=200,
            bf16=precision == "bf16",
            use_cpu=True,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            seed=42,
        ),
        train_dataset=Dataset.from_list([{"chosen_ids": one, "rejected_ids": other} for one, other in reads]),
        processing_class=tokenizer,
    )
    trainer.train()
    theirs = [each["loss"] for each in trainer.state.log_history if "loss" in each]
    assert len(mine) == len(theirs) == 20
    assert mine == pytest.approx(theirs, abs=1e-3)
    assert mine[0] - mine[-1] > 0.05, "nothing was learnt, so nothing was compared"


# --- runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_model_learns_which_answer_is_better(trained, family):
    facts = trained(family).facts
    held = facts["held_out"]
    assert held["accuracy"] > 0.9 and held["pairs"] > 20
    first = next(each for each in facts["log"] if "eval_loss" in each)
    assert held["loss"] < first["eval_loss"] - 0.2
    assert facts["pairs"] == facts["tokens"]["pairs"] and facts["kind"] == "reward" and facts["dropped"] == {}
    assert facts == json.loads((trained(family).folder / "training.json").read_text())


def test_held_out_prompts_are_not_learnt_from(tmp_path, monkeypatch):
    """Two rows of one prompt are on the same side."""
    seen = {}

    def spy(samples, *args, **options):
        seen[len(seen)] = {each.instruction for each in samples}
        return encode_pairs(samples, *args, **options)

    monkeypatch.setattr(reward, "encode_pairs", spy)
    data = scored_rows(16) + scored_rows(16)
    plan = replace(TINY, max_steps=1)
    facts = run_reward(data, tmp_path / "out", model=str(tiny_model(tmp_path / "base")), plan=plan).facts
    assert len(seen) == 2 and seen[0] and seen[1] and not seen[0] & seen[1]
    assert facts["tokens"]["rows"] + facts["data"]["held_out_rows"] == 32


def test_a_killed_run_goes_on_to_the_same_curve(tmp_path, monkeypatch):
    import torch
    from safetensors.torch import load_file

    base, plan = tiny_model(tmp_path / "base", "opt"), replace(TINY, save_steps=3, epochs=3)
    data = scored_rows(32)
    whole = run_reward(data, tmp_path / "whole", model=str(base), plan=plan).facts
    calls = 0

    class Killed(BaseException):
        """What nothing catches."""

    def killed(*args, **options):
        nonlocal calls
        calls += 1
        if calls > 14:
            raise Killed
        return pair_batch(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(reward, "pair_batch", killed)
        with pytest.raises(Killed):
            run_reward(data, tmp_path / "out", model=str(base), plan=plan)
    assert not (tmp_path / "out" / "training.json").exists()
    assert list((tmp_path / "out" / "checkpoints").glob("checkpoint-*")), "it was killed before its first checkpoint"
    again = run_reward(data, tmp_path / "out", model=str(base), plan=plan).facts
    assert losses(again) == losses(whole) and again["held_out"] == whole["held_out"]
    assert again["tokens_seen"] == whole["tokens_seen"]
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "out"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(OutputExistsError, match="finished run"):
        run_reward(data, tmp_path / "out", model=str(base), plan=plan)


DRIVER = """
import json, sys
import torch
from gpt4_instruct.training.recipes import RewardRecipe
from gpt4_instruct.training.reward import run_reward
from tests.tiny import scored_rows

torch.set_num_threads(1)
base, out, plan = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
run_reward(scored_rows(31), out, model=base, plan=RewardRecipe(**plan))
"""


def test_two_processes_learn_and_measure_what_one_does(tmp_path):
    """24 prompts with different numbers of pairs are learnt; 7 are held out, which are no two equal shares."""
    base = str(tiny_model(tmp_path / "base"))
    plan = replace(TINY, device_batch=2, margin=0.1, centering=0.01, held_out=0.22)
    expected = run_reward(scored_rows(31), tmp_path / "one", model=base, plan=plan).facts
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    command = [*torchrun, str(driver), base, str(tmp_path / "two"), json.dumps(asdict(plan))]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads((tmp_path / "two" / "training.json").read_text())
    assert facts["hardware"]["devices"] == 2 and facts["data"]["held_out_rows"] == 7
    assert losses(facts) == pytest.approx(losses(expected), abs=1e-5)
    assert facts["held_out"]["pairs"] == expected["held_out"]["pairs"]
    assert facts["held_out"]["accuracy"] == expected["held_out"]["accuracy"]
    assert facts["held_out"]["loss"] == pytest.approx(expected["held_out"]["loss"], abs=1e-5)
    assert facts["tokens_seen"] == expected["tokens_seen"]


def test_adapters_are_merged_and_the_head_is_learnt(tmp_path):
    base = tiny_model(tmp_path / "base")
    plan = replace(TINY, lora=LoRA(rank=4), epochs=3, learning_rate=1e-2)
    done = run_reward(scored_rows(48), tmp_path / "out", model=str(base), plan=plan)
    assert done.facts["held_out"]["accuracy"] > 0.95
    assert (done.folder / "adapter" / "adapter_config.json").is_file()
    scores = RewardModel(str(done.folder)).score([("Name a fish.", "", each) for each in ("Cod.", "Cod!!!")])
    assert scores[0] > scores[1]


def test_padded_batches_learn_the_same(tmp_path, monkeypatch):
    base, found = tiny_model(tmp_path / "base"), []
    plan = replace(TINY, batch_size=18, device_batch=6, epochs=4)  # all prompts in each step, in whatever order
    for flat in (True, False):
        if not flat:
            monkeypatch.setattr(reward, "separate_rows", lambda *_: False)
        facts = run_reward(scored_rows(24), tmp_path / str(flat), model=str(base), plan=plan).facts
        assert facts["tokens"]["rows"] == 18
        found.append((losses(facts), facts["held_out"]["loss"]))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-5)


# --- the saved model ------------------------------------------------------------------------------------------------


def saved(folder):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    return AutoModelForSequenceClassification.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_and_company_change_no_reward(trained, family):
    """Where padding and end of text are one token, a batch's rewards are those of other places than alone."""
    import torch

    folder = trained(family).folder
    expected = RewardModel(str(folder)).score(TEXTS)
    assert len({round(each, 5) for each in expected}) == len(TEXTS)
    model, tokenizer = saved(folder)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id, tokenizer.bos_token_id)
    assert model.config.pad_token_id == tokenizer.pad_token_id and tokenizer.padding_side == "right"
    texts = [render_alpaca(asked, input) + answer + tokenizer.eos_token for asked, input, answer in TEXTS]
    with torch.no_grad():
        alone = [model(**tokenizer(each, return_tensors="pt")).logits.item() for each in texts]
        assert alone == pytest.approx(expected, abs=1e-5)
        for side in ("right", "left"):
            batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side=side)
            assert model(**batch).logits[:, 0].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_saved_model_gives_what_training_measured(trained, family):
    """The held-out metrics, from the rewards of the model that is read back."""
    from gpt4_instruct.training.data import split
    from gpt4_instruct.training.pairs import measure_pairs

    done = trained(family)
    _, kept = split(read(scored_rows(48), scored=True).samples, TINY.held_out, TINY.seed)
    asked = [(each.instruction, each.input, one.response) for each in kept for one in each.scored]
    found = iter(RewardModel(str(done.folder)).score(asked))
    differences, gaps = [], []
    for each in kept:
        pairs = [(one.score, next(found)) for one in each.scored]
        for place, (score, value) in enumerate(pairs):
            for other, worse in pairs[:place] + pairs[place + 1 :]:
                if score > other:
                    differences.append(value - worse)
                    gaps.append(score - other)
    expected = measure_pairs(differences, gaps)
    held = done.facts["held_out"]
    assert (held["pairs"], held["accuracy"]) == (expected["pairs"], expected["accuracy"])
    loss = sum(math.log1p(math.exp(-each)) for each in differences) / len(differences)
    assert held["loss"] == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pipeline_and_the_chat_template_give_the_reward(trained, family):
    from transformers import pipeline

    folder = str(trained(family).folder)
    classify = pipeline("text-classification", model=folder, device="cpu")
    expected = RewardModel(folder).score(TEXTS)
    for (asked, input, answer), value in zip(TEXTS, expected, strict=True):
        turn = {"role": "user", "content": asked, "input": input}
        messages = [turn, {"role": "assistant", "content": answer}]
        text = classify.tokenizer.apply_chat_template(messages, tokenize=False)
        # The template writes how a text begins, and so would the tokenizer.
        begin = classify.tokenizer.bos_token
        (found,) = classify([text.removeprefix(begin) if begin else text])
        assert found["score"] == pytest.approx(value, abs=1e-5)


def test_scores_do_not_depend_on_company(trained):
    scorer = RewardModel(str(trained("llama").folder))
    together = scorer.score(TEXTS * 20)
    assert len(together) == 20 * len(TEXTS)
    assert together == pytest.approx(scorer.score(TEXTS) * 20, abs=1e-5)
    assert [scorer.score([each])[0] for each in TEXTS] == pytest.approx(scorer.score(TEXTS), abs=1e-5)
    assert scorer.score(TEXTS) == scorer.score(TEXTS) and scorer.score([]) == []
    long = ("Name a planet.", "", "Mars " * 500)
    assert scorer.max_length == 200
    assert scorer.score([long]) == pytest.approx(scorer.score([(*long[:2], long[2] + "!")]), abs=1e-6)


def test_rewards_computed_in_bfloat16_keep_their_digits(tmp_path):
    import torch

    base = tiny_model(tmp_path / "base")
    done = run_reward(
        scored_rows(16), tmp_path / "out", model=str(base), plan=replace(TINY, precision="bf16", max_steps=2)
    )
    model, _ = saved(done.folder)
    assert model.dtype == torch.float32
    found = torch.tensor(RewardModel(str(done.folder)).score(TEXTS))
    assert (found != found.bfloat16().float()).any()


def test_another_ones_encoder_reads_as_much_as_it_has_positions_for(tmp_path):
    """RoBERTa says that it has 514, and the first two are none of a text's."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = AutoConfig.for_model(
        "roberta", vocab_size=800, max_position_embeddings=514, pad_token_id=1, num_labels=1, **sizes
    )
    AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    model = RewardModel(str(tmp_path))
    assert model.max_length == 512
    assert math.isfinite(model.score([("Say it again.", "", "b" * 3_000)])[0])


def test_a_model_of_padded_batches_scores_too(tmp_path):
    base = bloom(tmp_path / "base")
    done = run_reward(scored_rows(32), tmp_path / "out", model=str(base), plan=replace(TINY, epochs=4))
    assert done.facts["held_out"]["accuracy"] > 0.9
    scorer = RewardModel(str(done.folder))
    assert scorer.score(TEXTS) == pytest.approx([scorer.score([each])[0] for each in TEXTS], abs=1e-5)


def test_an_encoder_is_a_reward_model_too(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    BertForMaskedLM(BertConfig(vocab_size=800, **sizes)).save_pretrained(tmp_path / "base")
    tiny_tokenizer("llama").save_pretrained(tmp_path / "base")
    plan = replace(TINY, learning_rate=5e-3, epochs=4)
    done = run_reward(scored_rows(32), tmp_path / "out", model=str(tmp_path / "base"), plan=plan)
    assert done.facts["held_out"]["accuracy"] > 0.9
    scorer = RewardModel(str(done.folder))
    assert not has_token_head(scorer._model)
    assert scorer.score(TEXTS) == pytest.approx([scorer.score([each])[0] for each in TEXTS], abs=1e-5)


# --- bad input ------------------------------------------------------------------------------------------------------


def line_of(error: type[Exception], *args, **options) -> str:
    with pytest.raises(error) as raised:
        run_reward(*args, **options)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300
    return str(raised.value)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tie", [False, True])
def test_tied_and_resized_embeddings_are_trained_and_read_back(tmp_path, family, tie):
    base = tiny_model(tmp_path / "base", family, tie=tie)
    plan = replace(TINY, max_steps=2)
    done = run_reward(scored_rows(12), tmp_path / "out", model=str(base), plan=plan)
    model, tokenizer = saved(done.folder)
    assert len(tokenizer) == 801 and model.get_input_embeddings().weight.shape[0] == 808
    assert model.config.vocab_size == 808
    assert RewardModel(str(done.folder)).score(TEXTS) == RewardModel(str(done.folder)).score(TEXTS)


def test_a_trained_reward_model_is_a_base(trained, tmp_path):
    first = trained("llama")
    before = first.facts["held_out"]["loss"]
    again = run_reward(scored_rows(48), tmp_path / "out", model=str(first.folder), plan=replace(TINY, max_steps=1))
    started = next(each["eval_loss"] for each in again.facts["log"] if "eval_loss" in each)
    assert started == pytest.approx(before, abs=1e-5), "its head was not kept"


def test_one_prompt_is_enough_to_learn_from(tmp_path):
    facts = run_reward(scored_rows(1), tmp_path / "out", model=str(tiny_model(tmp_path / "base")), plan=TINY).facts
    assert facts["steps"] == 2 and facts["held_out"] is None and facts["data"]["held_out_rows"] == 0


def test_held_out_ties_say_nothing_and_stop_nothing(tmp_path):
    ties = scored_rows(3)
    for row in ties:
        for one in row["responses_and_scores"]:
            one["score"] = 5.0
    base = tiny_model(tmp_path / "base")
    plan = replace(TINY, max_steps=1)
    facts = run_reward(scored_rows(8), tmp_path / "out", model=str(base), plan=plan, held_out_data=ties).facts
    assert facts["held_out"] is None and facts["data"]["held_out_rows"] == 3
    assert facts["data"]["held_out_measured"] == 0 and facts["data"]["held_out_left_out"] == {"ties": 3}
    both = [*ties, *scored_rows(8)]
    data = run_reward(scored_rows(8), tmp_path / "both", model=str(base), plan=plan, held_out_data=both).facts["data"]
    assert data["held_out_measured"] == 8 and data["held_out_left_out"] == {"ties": 3}
    assert "dropped_ties" in line_of(SourceError, ties, tmp_path / "other", model=str(base), plan=plan)
    assert not (tmp_path / "other" / "training.json").exists()


def test_padding_is_no_token_that_was_seen(tmp_path):
    base = str(bloom(tmp_path / "base"))
    for size in (1, 4):
        plan = replace(TINY, device_batch=size, epochs=1)
        facts = run_reward(scored_rows(12), tmp_path / f"out{size}", model=base, plan=plan).facts
        assert facts["tokens_seen"] == facts["tokens"]["tokens"], size


def test_a_run_goes_on_with_the_same_held_out_prompts_only(tmp_path, monkeypatch):
    base, plan = str(tiny_model(tmp_path / "base")), replace(TINY, save_steps=1)
    some, others = scored_rows(8)[:4], scored_rows(8)[4:]

    class Killed(BaseException):
        """What nothing catches."""

    def killed(trainer, run, *args, **options):
        step = run.checkpoints / "checkpoint-1"
        step.mkdir(exist_ok=True)
        run.seal(step, 1.0)
        raise Killed

    monkeypatch.setattr("gpt4_instruct.training.finishing.train", killed)
    for held_out, error in ((some, Killed), (others, OutputExistsError), (some, Killed)):
        with pytest.raises(error, match="an unfinished run with another held_out" if held_out is others else None):
            run_reward(scored_rows(8), tmp_path / "out", model=base, plan=plan, held_out_data=held_out)


def test_a_base_that_cannot_read_so_many_tokens_says_how_many(tmp_path):
    base = str(tiny_model(tmp_path / "base", "opt"))
    said = line_of(UsageError, scored_rows(4), tmp_path / "out", model=base, plan=replace(TINY, max_length=513))
    assert said == "max_length is 513, but base reads at most 512 tokens: --max-length 512"


def test_data_that_cannot_be_used_says_what_is_wrong(tmp_path):
    base = str(tiny_model(tmp_path / "base"))
    assert "with scores" in line_of(SourceError, rows(4), tmp_path / "out", model=base, plan=TINY)
    short = replace(TINY, max_length=10)
    assert "dropped_too_long" in line_of(SourceError, scored_rows(4), tmp_path / "out", model=base, plan=short)
    parted = replace(TINY, batch_size=6, device_batch=4)
    assert "cannot be parted" in line_of(UsageError, scored_rows(8), tmp_path / "out2", model=base, plan=parted)


def test_a_base_without_a_head_says_so(tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
    config = AutoConfig.for_model("granite", vocab_size=800, num_key_value_heads=4, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    said = line_of(UsageError, scored_rows(8), tmp_path / "out", model=str(tmp_path / "base"), plan=TINY)
    assert "granite model, for which transformers has no head" in said


def test_what_is_no_reward_model_is_refused(trained, tmp_path):
    causal = tiny_model(tmp_path / "causal")
    with pytest.raises(UsageError, match=r"causal is no reward model \(LlamaForCausalLM, .*train reward"):
        RewardModel(str(causal))
    several = tmp_path / "several"
    model, _ = saved(trained("llama").folder)
    model.config.num_labels = 3
    model.config.save_pretrained(several)
    with pytest.raises(UsageError, match="3 outputs"):
        RewardModel(str(several))
    with pytest.raises(UsageError, match="no folder"):
        RewardModel(str(tmp_path / "nothing"))
    broken = shutil.copytree(trained("llama").folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="broken cannot be loaded as a reward model"):
        RewardModel(str(broken))
    with pytest.raises(UsageError, match="cannot run on cuda"):
        RewardModel(str(trained("llama").folder), device="cuda")


# --- a real model ---------------------------------------------------------------------------------------------------


@needs_smollm2
def test_smollm2_whose_padding_is_its_end_of_text_learns_to_score(tmp_path):
    import torch

    base = load_tokenizer(find_base("smollm2").folder)
    assert base.pad_token_id == base.eos_token_id, "the trap is gone"
    plan = changed(
        REWARD_RECIPES["smollm2-demo"],
        max_length=80,
        max_steps=3,
        learning_rate=2e-4,
        batch_size=3,
        device_batch=3,
        held_out=0.2,
    )
    data = [row for row in scored_rows(60) if len(row["user_input"]) < 60][:12]
    done = run_reward(data, tmp_path / "out", plan=plan)
    first = next(each for each in done.facts["log"] if "eval_loss" in each)
    assert done.facts["held_out"]["loss"] < first["eval_loss"]
    assert done.facts["held_out"]["accuracy"] > 0.8
    expected = RewardModel(str(done.folder)).score(TEXTS)
    model, tokenizer = saved(done.folder)
    texts = [render_alpaca(asked, input) + answer + tokenizer.eos_token for asked, input, answer in TEXTS]
    with torch.no_grad():
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        assert model(**batch).logits[:, 0].tolist() == pytest.approx(expected, abs=1e-3)
