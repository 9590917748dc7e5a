"""Supervised tuning: pinned curves, exact held-out losses, adapters, and a real model that learns what it is taught."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gpt4_instruct.errors import InterruptedRunError, OutputExistsError, UsageError
from gpt4_instruct.training import telling
from gpt4_instruct.training.recipes import SFT_RECIPES, LoRA, SFTRecipe, changed
from gpt4_instruct.training.sft import run_sft
from tests.smollm2 import needs_smollm2
from tests.tiny import FAMILIES, needs_training, rows, tiny_model, tiny_tokenizer

pytestmark = needs_training

TINY = SFTRecipe(
    max_length=200,
    epochs=2,
    learning_rate=1e-2,
    batch_size=8,
    device_batch=4,
    precision="fp32",
    held_out=0.1,
)
SHORT = [{"instruction": f"Name number {number}.", "input": "", "output": f"{number}."} for number in range(6)]
# Of the first six steps; a change of loss, order, rate or tokens changes them.
PINNED = {
    "llama": [6.6985, 6.6979, 6.6918, 6.5720, 6.5558, 6.3800],
    "opt": [6.6943, 6.6939, 6.6668, 6.5143, 6.5133, 6.2455],
    "qwen2": [6.6899, 6.6914, 6.6565, 6.5203, 6.5271, 6.2900],
}


def losses(facts):
    return [each["loss"] for each in facts["log"] if "loss" in each]


def measured(facts):
    return [each["eval_loss"] for each in facts["log"] if "eval_loss" in each]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_curve_is_pinned_and_goes_down(tmp_path, family):
    facts = run_sft(rows(), tmp_path / "out", model=str(tiny_model(tmp_path / "base", family)), plan=TINY).facts
    assert losses(facts)[:6] == pytest.approx(PINNED[family], abs=2e-3)
    before, *_, after = measured(facts)
    assert after < before - 0.2


def test_the_held_out_loss_is_the_mean_over_all_of_its_tokens(tmp_path):
    """Whatever the batch size; the mean of batches' means would not be."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from gpt4_instruct.training.data import read, split
    from gpt4_instruct.training.tokens import IGNORED, encode

    base = tiny_model(tmp_path / "base")
    found = [
        measured(
            run_sft(rows(), tmp_path / f"out{size}", model=str(base), plan=changed(plan, device_batch=size)).facts
        )[0]
        for plan in [changed(TINY, held_out=0.3, max_steps=1)]
        for size in (1, 4, 8)
    ]
    _, held = split(read(rows(), scored=False).samples, 0.3, TINY.seed)
    kept = [{name: getattr(each, name) for name in ("instruction", "input", "output")} for each in held]
    model = AutoModelForCausalLM.from_pretrained(base)
    total, count = 0.0, 0
    for each in encode(Dataset.from_list(kept), AutoTokenizer.from_pretrained(base), 200):
        ids, labels = torch.tensor([each["input_ids"]]), torch.tensor([each["labels"]])
        tokens = int((labels != IGNORED).sum())
        total += model(input_ids=ids, labels=labels).loss.item() * tokens
        count += tokens
    assert found == pytest.approx([total / count] * 3, abs=1e-5)


@pytest.mark.parametrize("change", [{"checkpointing": True}, {"device_batch": 8}, {"device_batch": 1}], ids=str)
def test_what_saves_memory_changes_no_result(tmp_path, change):
    base = str(tiny_model(tmp_path / "base", "qwen2"))
    plain = run_sft(rows(), tmp_path / "plain", model=base, plan=changed(TINY, max_steps=5))
    other = run_sft(rows(), tmp_path / "other", model=base, plan=changed(TINY, max_steps=5, **change))
    assert losses(other.facts) == pytest.approx(losses(plain.facts), abs=1e-5)
    assert other.facts["tokens_seen"] == plain.facts["tokens_seen"]


def test_packs_learn_from_every_row_and_about_as_many_a_step(tmp_path):
    base = str(tiny_model(tmp_path / "base"))
    facts = run_sft(rows(), tmp_path / "out", model=base, plan=changed(TINY, packing=512)).facts
    assert facts["tokens"]["rows"] == facts["data"]["rows"] - facts["data"]["held_out_rows"]
    assert facts["tokens_seen"] == 2 * facts["tokens"]["tokens"]
    assert abs(2 * facts["tokens"]["rows"] / facts["steps"] - TINY.batch_size) <= 3
    assert measured(facts)[-1] < measured(facts)[0]


def test_a_pack_that_holds_more_rows_than_a_step_is_refused(tmp_path):
    base = str(tiny_model(tmp_path / "base"))
    packed = run_sft(rows(), tmp_path / "few", model=base, plan=changed(TINY, packing=512, max_steps=1)).facts
    assert packed["rows_a_step"] == pytest.approx(TINY.batch_size, abs=3)
    with pytest.raises(
        UsageError, match=r"a pack of 4096 tokens holds \d\d\.\d rows on average, but a step is to have 8"
    ):
        run_sft(rows(), tmp_path / "many", model=base, plan=changed(TINY, packing=4096))
    assert not (tmp_path / "many" / "training.json").exists()


@pytest.mark.parametrize("packing", [256, 512, 700])
def test_the_rows_of_a_step_of_packs_are_the_true_mean(tmp_path, packing):
    base = str(tiny_model(tmp_path / "base"))
    facts = run_sft(rows(), tmp_path / "out", model=base, plan=changed(TINY, packing=packing, epochs=1.0)).facts
    tokens = facts["tokens"]
    learnt = tokens["rows"] - tokens.get("dropped_too_long", 0) - tokens.get("dropped_no_answer", 0)
    assert facts["rows_a_step"] == pytest.approx(learnt / facts["steps"], abs=0.05)


def test_padding_is_no_token_that_was_seen(tmp_path):
    """A model whose rows lie beside each other has as many tokens as one whose rows lie end to end, in any batches."""
    import torch
    from transformers import BloomConfig, BloomForCausalLM

    torch.manual_seed(0)
    shape = {"vocab_size": 800, "hidden_size": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 1}
    BloomForCausalLM(BloomConfig(**shape)).save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    for size in (1, 4, 8):
        plan = changed(TINY, device_batch=size, epochs=1.0)
        facts = run_sft(rows(), tmp_path / f"out{size}", model=str(tmp_path / "base"), plan=plan).facts
        assert facts["tokens_seen"] == facts["tokens"]["tokens"], size


def test_what_was_held_out_but_not_measured_is_told(tmp_path):
    base = str(tiny_model(tmp_path / "base"))
    empty, long = {"instruction": "A", "input": "", "output": " "}, {"instruction": "B" * 999, "output": "b"}
    plan = changed(TINY, max_steps=1)
    named = [*SHORT, empty, long, long]
    data = run_sft(rows(), tmp_path / "out", model=base, plan=plan, held_out_data=named).facts["data"]
    assert data["held_out_measured"] == 6 and data["held_out_left_out"] == {"no_answer": 1, "too_long": 2}
    facts = run_sft(rows(), tmp_path / "none", model=base, plan=plan, held_out_data=[long]).facts
    assert facts["held_out"] is None and facts["data"]["held_out_measured"] == 0
    assert facts["data"]["held_out_left_out"] == {"too_long": 1}
    data = run_sft(SHORT * 2, tmp_path / "share", model=base, plan=changed(plan, held_out=0.5)).facts["data"]
    assert data["held_out_measured"] == data["held_out_rows"] == 6 and data["held_out_left_out"] == {}


def test_a_run_goes_on_with_the_same_held_out_rows_only(tmp_path):
    base = str(tiny_model(tmp_path / "base"))
    some, others = rows(12)[:6], rows(12)[6:]
    plan = changed(TINY, save_steps=2)

    def begun(held_out):
        return run_sft(rows(), tmp_path / "out", model=base, plan=plan, held_out_data=held_out)

    before = telling.told

    def stop(logs):
        if logs.get("step", 0) or "loss" in logs:
            seen.append(logs)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return before(logs)

    seen: list[object] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(telling, "told", stop)
        with pytest.raises(InterruptedRunError):
            begun(some)
    with pytest.raises(OutputExistsError, match="an unfinished run with another held_out"):
        begun(others)
    assert begun(some).facts["steps"] > 3


@pytest.mark.parametrize(
    ("kind", "shape", "most"),
    [
        ("gpt2", {"n_positions": 128, "n_embd": 32, "n_layer": 1, "n_head": 2}, 128),
        ("opt", {"max_position_embeddings": 128, "hidden_size": 32, "num_hidden_layers": 1, "ffn_dim": 32}, 128),
        ("gptj", {"n_positions": 128, "n_embd": 32, "n_layer": 1, "n_head": 2, "rotary_dim": 8}, 128),
        ("roberta", {"max_position_embeddings": 130, "hidden_size": 32, "num_hidden_layers": 1, "is_decoder": True}, 128),
        ("llama", {"max_position_embeddings": 128, "hidden_size": 32, "num_hidden_layers": 1}, None),
    ],
)  # fmt: skip
def test_a_base_that_cannot_read_so_many_tokens_says_how_many(tmp_path, kind, shape, most):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    heads = {} if "n_head" in shape else {"num_attention_heads": 2, "intermediate_size": 32}
    more = {"word_embed_proj_dim": 32} if kind == "opt" else {}
    config = AutoConfig.for_model(
        kind, vocab_size=800, bos_token_id=0, eos_token_id=1, pad_token_id=1, **shape, **heads, **more
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    long = [{"instruction": "Say it again.", "input": "", "output": "b" * 900}, *rows(9)]
    plan = changed(TINY, max_steps=1, held_out=0.0, max_length=129)
    if most is not None:
        message = f"max_length is 129, but base reads at most {most} tokens: --max-length {most}"
        with pytest.raises(UsageError, match=message):
            run_sft(long, tmp_path / "out", model=str(tmp_path / "base"), plan=plan)
        plan = changed(plan, max_length=most)
    facts = run_sft(long, tmp_path / "out", model=str(tmp_path / "base"), plan=plan).facts
    assert facts["steps"] == 1 and facts["tokens"]["truncated"], "a row as long as it may be was read"


def test_adapters_are_merged_into_a_model_like_any_other(tmp_path):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = tiny_model(tmp_path / "base")
    trained = run_sft(rows(), tmp_path / "out", model=str(base), plan=changed(TINY, lora=LoRA(rank=4)))
    assert measured(trained.facts)[-1] < measured(trained.facts)[0]
    merged = AutoModelForCausalLM.from_pretrained(trained.folder)
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), trained.folder / "adapter")
    ids = AutoTokenizer.from_pretrained(base)("Name a planet.", return_tensors="pt")["input_ids"]
    torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, atol=1e-4, rtol=1e-4)
    plain = AutoModelForCausalLM.from_pretrained(base)
    assert not torch.allclose(merged(ids).logits, plain(ids).logits, atol=1e-2)


def test_the_folder_is_whole_and_tells_what_was_done(tmp_path):
    from transformers import pipeline

    base = tiny_model(tmp_path / "base", "opt")
    trained = run_sft(rows(), tmp_path / "out", model=str(base), plan=changed(TINY, max_steps=3))
    facts = json.loads((trained.folder / "training.json").read_text())
    assert facts == json.loads(json.dumps(trained.facts))
    assert facts["steps"] == 3 and facts["base"]["name"] == "base" and facts["data"]["name"] == "rows"
    assert len(facts["data"]["sha256"]) == 64 and str(tmp_path) not in json.dumps(facts)
    logged = next(each for each in facts["log"] if "loss" in each)
    assert logged["tokens_per_second"] > logged["supervised_tokens_per_second"] > 0 and 0 < logged["mfu"] < 1
    ask = pipeline("text-generation", model=str(trained.folder))
    (answer,) = ask([{"role": "user", "content": "Name a planet."}], max_new_tokens=4)
    assert answer["generated_text"][-1]["role"] == "assistant"


def test_one_process_takes_one_gpu_of_several(tmp_path, monkeypatch):
    """The stock loader would lay batches for all of them end to end, and part each batch, which is one long text."""
    from transformers import TrainingArguments

    from gpt4_instruct.training.runs import Run
    from gpt4_instruct.training.trainer import arguments

    stock = TrainingArguments.__post_init__

    def on_four(self):
        stock(self)
        self._n_gpu = 4

    monkeypatch.setattr(TrainingArguments, "__post_init__", on_four)
    run = Run(tmp_path / "out", {"kind": "sft", "base": "b"}, overwrite=False, main=False)
    settings = arguments(TINY, run, accumulation=1, held_out=False)
    assert settings.n_gpu == 1 and settings.train_batch_size == TINY.device_batch


def test_a_log_has_a_line_a_step_or_about_a_hundred_of_all_and_nothing_else(tmp_path, monkeypatch, capfd):
    base = str(tiny_model(tmp_path / "base"))
    run_sft(rows(16), tmp_path / "few", model=base, plan=changed(TINY, max_steps=3, warmup=0.1))
    shown = capfd.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith("step ")]
    assert shown.out == "" and len(lines) == 6
    assert re.fullmatch(r"step 0 of 3: held-out loss \d\.\d{3}", lines[0])
    assert re.fullmatch(r"step 1 of 3: loss .*, [\d,]+ tokens/s \([\d,]+ learnt\), MFU [\d.]+ %", lines[1])
    monkeypatch.setattr(telling, "_LINES", 2)
    run_sft(rows(1), tmp_path / "many", model=base, plan=changed(TINY, max_steps=7, epochs=7.0))
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("step ")]
    assert [line.split(":")[0] for line in lines] == [f"step {step} of 7" for step in (1, 3, 6)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 9}, "a batch of 9 rows cannot be parted into 4 rows on each of 1 devices"),
        ({"packing": 100}, "does not fit into a pack of 100"),
        ({"precision": "fp8"}, "precision is 'fp8', but must be bf16 or fp32"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0, but must be more than 0"),
        ({"warmup": 1.0}, "warmup is 1.0, but must be from 0 to less than 1"),
    ],
)
def test_settings_that_cannot_work_are_one_line(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        base = str(tiny_model(tmp_path / "base"))
        run_sft(rows(), tmp_path / "out", model=base, plan=changed(TINY, **change))
    assert not (tmp_path / "out" / "training.json").exists()


@needs_smollm2
def test_a_real_model_tuned_on_real_rows_answers_held_out_ones_better(shared_data, tmp_path):
    data = json.loads((shared_data / "alpaca_gpt4_en_500.json").read_text())
    short = [each for each in data if len(each["output"]) + len(each["instruction"]) + len(each["input"]) < 300][:30]
    small = {"batch_size": 4, "device_batch": 4, "max_length": 96}
    plan = changed(SFT_RECIPES["smollm2-demo"], max_steps=3, held_out=0.1, warmup=0.0, **small)
    facts = run_sft(short, tmp_path / "out", plan=plan).facts
    before, after = measured(facts)
    assert after < before - 0.05


@needs_smollm2
def test_a_model_taught_a_marker_shows_it_in_chat(tmp_path):
    """Every answer it is taught begins with the same word, which no model begins with by itself."""
    import io

    from gpt4_instruct.chat import chat

    taught = [{**each, "output": f"Verily: {each['output'][:24]}"} for each in rows(64)]
    taught = sorted(taught, key=lambda each: len(each["instruction"]) + len(each["input"]))[:16]
    small = {"batch_size": 4, "device_batch": 4, "max_length": 72}
    plan = changed(SFT_RECIPES["smollm2-demo"], warmup=0.0, learning_rate=1e-3, held_out=0.0, **small)
    trained = run_sft(taught, tmp_path / "out", plan=plan)
    out = io.StringIO()
    chat(str(trained.folder), temperature=0.0, max_tokens=12, input=io.StringIO("What is bread made of?\n"), output=out)
    assert out.getvalue().lstrip().startswith("Verily:")
    assert Path(trained.folder, "chat_template.jinja").is_file()
