"""What goes wrong in training: broken numbers, full memory, full disks, odd bases, odd rows. Clear words, nothing lost."""

from __future__ import annotations

import json
import resource
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.errors import Gpt4InstructError, OutputError, SourceError, TrainingError, UsageError
from gpt4_instruct.training.recipes import LoRA, RewardRecipe, SFTRecipe
from gpt4_instruct.training.reward import run_reward
from gpt4_instruct.training.sft import run_sft
from tests.tiny import FAMILIES, needs_training, rows, scored_rows, tiny_model, tiny_tokenizer

pytestmark = needs_training

_NUMBERS: dict[str, Any] = {
    "max_length": 200,
    "epochs": 1.0,
    "learning_rate": 1e-3,
    "batch_size": 8,
    "device_batch": 4,
    "precision": "fp32",
    "held_out": 0.1,
}
SFT = SFTRecipe(**_NUMBERS, save_steps=2)
REWARD = RewardRecipe(**_NUMBERS, save_steps=2)


@pytest.fixture(autouse=True)
def _one_thread():
    """A tiny model's threads only wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sft(out: Path, base: Path, plan: SFTRecipe = SFT, data: Any = None, **options: Any) -> dict[str, Any]:
    return run_sft(rows(40) if data is None else data, out, model=str(base), plan=plan, **options).facts


def reward(out: Path, base: Path, plan: RewardRecipe = REWARD, data: Any = None) -> dict[str, Any]:
    return run_reward(scored_rows(40) if data is None else data, out, model=str(base), plan=plan).facts


RUNS = {"sft": sft, "reward": reward}


def line_of(error: type[Exception], call: Any, *args: Any, **options: Any) -> str:
    """What an error says: one line, and no longer than a few of a terminal's."""
    with pytest.raises(error) as raised:
        call(*args, **options)
    said = str(raised.value)
    assert "\n" not in said and len(said) < 400, said
    return said


def losses(facts: dict[str, Any]) -> list[float]:
    return [each["loss"] for each in facts["log"] if "loss" in each]


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def steps(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Has `act(number, model)` come after each batch's gradients, counted from 1."""
    from gpt4_instruct.training.trainer import exact_trainer

    stock, numbers = exact_trainer().training_step, iter(range(1, 10_000))

    def step(self: Any, model: Any, *args: Any, **options: Any) -> Any:
        found = stock(self, model, *args, **options)
        act(next(numbers), model)
        return found

    monkeypatch.setattr(exact_trainer(), "training_step", step)


# --- numbers that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_broken_gradient_stops_before_the_weights_change(tmp_path, monkeypatch, kind, number):
    import torch

    base = tiny_model(tmp_path / "base")
    whole = RUNS[kind](tmp_path / "whole", base)

    def broken(batch: int, model: Any) -> None:
        if batch == 8:  # the second half of the fourth step
            next(model.parameters()).grad[3, 2] = float(number)

    with monkeypatch.context() as patched:
        steps(patched, broken)
        said = line_of(TrainingError, RUNS[kind], tmp_path / "out", base)
    assert said.startswith(
        "the gradients of step 4 are no numbers, so the run stopped before it; the last checkpoint, "
    )
    assert said.endswith("checkpoint-2, is good: look at the rows, or lower --learning-rate")
    kept = sorted(each.name for each in (tmp_path / "out" / "checkpoints").glob("checkpoint-*"))
    assert kept == ["checkpoint-2"] and not (tmp_path / "out" / "training.json").exists()
    checkpoint = weights(tmp_path / "out" / "checkpoints" / "checkpoint-2")
    assert all(torch.isfinite(each).all() for each in checkpoint.values())
    assert losses(RUNS[kind](tmp_path / "out", base)) == losses(whole)  # what was wrong is gone: it goes on


@pytest.mark.parametrize("kind", RUNS)
def test_a_base_with_a_broken_weight_stops_at_the_first_step(tmp_path, kind):
    from transformers import AutoModelForCausalLM

    base = tiny_model(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("nan")
    model.save_pretrained(base)
    plan = replace(SFT if kind == "sft" else REWARD, held_out=0.0)
    said = line_of(TrainingError, RUNS[kind], tmp_path / "out", base, plan)
    assert "the gradients of step 1 are no numbers" in said and "there was no checkpoint yet" in said


def test_a_learning_rate_that_blows_up_ends_the_run(tmp_path):
    plan = replace(SFT, learning_rate=1e25, held_out=0.0, warmup=0.0)
    said = line_of(TrainingError, sft, tmp_path / "out", tiny_model(tmp_path / "base"), plan)
    assert "are no numbers, so the run stopped before it" in said and "lower --learning-rate" in said
    assert not (tmp_path / "out" / "config.json").exists()


# --- memory and disk ------------------------------------------------------------------------------------------------


def full_memory(kind: str) -> None:
    """What torch raises on a processor, for real; and what it raises on a GPU."""
    import torch

    if kind == "processor":
        torch.empty(2**52, dtype=torch.int8)
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("kind", ["processor", "gpu"])
def test_out_of_memory_says_what_to_lower_and_that_goes_on(tmp_path, monkeypatch, kind):
    base = tiny_model(tmp_path / "base")
    whole = sft(tmp_path / "whole", base)
    with monkeypatch.context() as patched:
        steps(patched, lambda batch, model: full_memory(kind) if batch == 7 else None)
        said = line_of(TrainingError, sft, tmp_path / "out", base)
    assert said == (
        "out of memory after step 3: try --device-batch 2 (now 4; it learns the same), --checkpointing (it learns the "
        "same), --lora or a lower --max-length"
    )
    assert sorted(each.name for each in (tmp_path / "out" / "checkpoints").glob("checkpoint-*")) == ["checkpoint-2"]
    again = sft(tmp_path / "out", base, replace(SFT, device_batch=2, checkpointing=True))
    assert again["steps"] == whole["steps"] and losses(again)[:2] == losses(whole)[:2]
    assert losses(again) == pytest.approx(losses(whole), abs=1e-5)


def test_one_row_a_device_cannot_be_halved(tmp_path, monkeypatch):
    steps(monkeypatch, lambda batch, model: full_memory("gpu"))
    plan = replace(SFT, device_batch=1, checkpointing=True)
    said = line_of(TrainingError, sft, tmp_path / "out", tiny_model(tmp_path / "base"), plan)
    assert said == "out of memory after step 0: try --lora or a lower --max-length"


@pytest.fixture
def small_files():
    """Files can be written up to a size, as on a disk that gets full; call it with the bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails, as on a full disk

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield limit
    limit(None)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(tmp_path, monkeypatch, small_files):
    base = tiny_model(tmp_path / "base")
    whole = sft(tmp_path / "whole", base)
    with monkeypatch.context() as patched:
        steps(patched, lambda batch, model: small_files(100_000) if batch == 7 else None)
        said = line_of(OutputError, sft, tmp_path / "out", base)
    small_files(None)
    assert said.startswith(f"cannot write a checkpoint after step 4 to {tmp_path / 'out' / 'checkpoints'} (")
    assert said.endswith("checkpoint-2, is good: make room, and the same command goes on")
    assert sorted(each.name for each in (tmp_path / "out" / "checkpoints").glob("checkpoint-*")) == ["checkpoint-2"]
    assert losses(sft(tmp_path / "out", base)) == losses(whole)


def test_a_model_that_finds_no_room_costs_no_step(tmp_path, monkeypatch, small_files):
    from gpt4_instruct.training import finishing

    base, stock = tiny_model(tmp_path / "base"), finishing.use_template

    def full(*args: Any) -> None:
        small_files(100_000)
        stock(*args)

    with monkeypatch.context() as patched:
        patched.setattr(finishing, "use_template", full)
        said = line_of(OutputError, sft, tmp_path / "out", base)
    small_files(None)
    assert said.startswith(f"cannot write the model to {tmp_path / 'out'} (")
    assert said.endswith("make room, and the same command goes on")
    assert not (tmp_path / "out" / "training.json").exists()
    steps(monkeypatch, lambda batch, model: pytest.fail("a step was trained again"))
    assert sft(tmp_path / "out", base)["steps"] == 5


# --- bases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tie", [False, True])
def test_a_tokenizer_with_more_tokens_than_the_model_gets_room(tmp_path, family, tie):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = tiny_model(tmp_path / "base", family, tie=tie)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens([f"<new{number}>" for number in range(9)])
    tokenizer.save_pretrained(base)
    data = [{**each, "output": f"<new8> {each['output']}"} for each in rows(40)]
    facts = sft(tmp_path / "out", base, replace(SFT, learning_rate=1e-2, epochs=3.0), data)
    assert losses(facts)[-1] < losses(facts)[0]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.get_input_embeddings().weight.shape[0] == 816 == model.get_output_embeddings().weight.shape[0]
    shared = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert shared is tie
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")("<new8>", return_tensors="pt")["input_ids"]
    assert int(ids[0, -1]) == len(tokenizer) - 1 and model(ids).logits.shape[-1] == 816


def test_a_tokenizer_without_any_end_is_one_line(tmp_path):
    base = tiny_model(tmp_path / "base")
    tokenizer = tiny_tokenizer("llama")
    tokenizer.eos_token = None
    tokenizer.save_pretrained(base)
    said = line_of(UsageError, sft, tmp_path / "out", base)
    assert "end" in said and not (tmp_path / "out").exists()


def test_a_base_without_a_pad_token_or_a_chat_template_becomes_a_model_with_both(tmp_path):
    from transformers import AutoTokenizer

    base = tiny_model(tmp_path / "base")
    before = AutoTokenizer.from_pretrained(base)
    assert before.pad_token is None and before.chat_template is None
    sft(tmp_path / "out", base)
    after = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert after.pad_token == after.eos_token
    asked = after.apply_chat_template([{"role": "user", "content": "Hi."}], tokenize=False, add_generation_prompt=True)
    assert asked.startswith("<s>Below is an instruction") and asked.endswith("### Response:")
    said = line_of(UsageError, sft, tmp_path / "other", base, replace(SFT, template="chat"))
    assert "chat template" in said and "alpaca" in said


def test_a_slow_tokenizer_trains_the_same_weights(tmp_path):
    """One without offsets: a byte tokenizer in plain Python, as ByT5's."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, ByT5Tokenizer

    base = tmp_path / "base"
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
    config = AutoConfig.for_model("llama", vocab_size=400, eos_token_id=1, bos_token_id=None, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(base)
    ByT5Tokenizer().save_pretrained(base)
    assert not AutoTokenizer.from_pretrained(base).is_fast
    facts = sft(tmp_path / "out", base, replace(SFT, max_length=600, learning_rate=1e-2))
    assert losses(facts)[-1] < losses(facts)[0] and facts["tokens"]["rows"] == 36


def bare(folder: Path, kind: str, auto: str = "AutoModelForCausalLM", **more: Any) -> Path:
    """A tiny model of another architecture, with a tokenizer."""
    import torch
    import transformers

    tokenizer = tiny_tokenizer("llama")
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    config = transformers.AutoConfig.for_model(kind, vocab_size=800, **ids, **more)
    torch.manual_seed(0)
    getattr(transformers, auto).from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


OTHERS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "gpt_neox": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 512,
    },
    "gemma2": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 64,
        "sliding_window": 16,
    },
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures_learn_what_padded_batches_teach(tmp_path, kind):
    """Flat where their attention can keep rows apart, padded where not: the first loss is the plain model's either way."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from gpt4_instruct.training.data import read
    from gpt4_instruct.training.tokens import encode

    base = bare(tmp_path / "base", kind, **OTHERS[kind])
    plan = replace(SFT, epochs=3.0, learning_rate=1e-2)
    facts = sft(tmp_path / "out", base, plan, rows(8), held_out_data=rows(24)[8:])
    measured = [each["eval_loss"] for each in facts["log"] if "eval_loss" in each]
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    held = read(rows(24)[8:], scored=False).samples
    from datasets import Dataset

    table = Dataset.from_list([{"instruction": s.instruction, "input": s.input, "output": s.output} for s in held])
    total, count = 0.0, 0
    with torch.no_grad():
        for each in encode(table, AutoTokenizer.from_pretrained(base), 200):
            ids, labels = torch.tensor([each["input_ids"]]), torch.tensor([each["labels"]])
            tokens = int((labels[:, 1:] != -100).sum())
            total += float(model(input_ids=ids, labels=labels).loss) * tokens
            count += tokens
    assert measured[0] == pytest.approx(total / count, abs=2e-4)
    assert measured[-1] < measured[0]
    if kind in ("bloom", "gemma2"):
        said = line_of(UsageError, sft, tmp_path / "packed", base, replace(SFT, packing=400))
        assert "cannot keep the rows of a pack apart: leave out --packing" in said


def test_what_is_no_base_is_one_line(tmp_path):
    encoder = bare(
        tmp_path / "encoder",
        "bert",
        "AutoModel",
        **{"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32},
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tiny_model(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:5000])
    mute = tiny_model(tmp_path / "mute")
    for each in mute.glob("tokenizer*"):
        each.unlink()
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    lost = tmp_path / "lost"
    for place, words in {
        lost: "lost",
        empty: "empty",
        broken: "broken cannot be loaded for training",
        mute: "tokenizer",
        gguf: "is a GGUF file, which is for running",
    }.items():
        said = line_of(UsageError, sft, tmp_path / "out", place)
        assert words in said, said
        assert not (tmp_path / "out").exists()
    said = line_of(UsageError, sft, tmp_path / "out", encoder)
    assert "encoder" in said


def test_adapters_of_a_base_with_new_tokens_are_merged_with_them(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = tiny_model(tmp_path / "base", "qwen2", tie=True)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(base)
    sft(tmp_path / "out", base, replace(SFT, lora=LoRA(rank=2)))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.get_input_embeddings().weight.shape[0] == 808


# --- rows -----------------------------------------------------------------------------------------------------------


def test_rows_that_cannot_be_learnt_are_one_line_each_way(tmp_path):
    base = tiny_model(tmp_path / "base")
    cases: list[tuple[Any, str]] = [
        ([], "empty"),
        ([{"prompt_id": 1, "stuff": "x"}], "rows"),
        (scored_rows(4), "4 several_answers"),
        (tmp_path / "nowhere.jsonl", "nowhere.jsonl"),
        ([{**each, "instruction": "word " * 400} for each in rows(4)], "dropped"),
    ]
    for data, words in cases:
        said = line_of(Gpt4InstructError, sft, tmp_path / "out", base, SFT, data)
        assert words in said, said
        assert not (tmp_path / "out").exists()
    said = line_of(SourceError, reward, tmp_path / "out", base, REWARD, rows(4))
    assert "4 one_answer" in said and "with scores" in said


def test_one_row_is_enough(tmp_path):
    facts = sft(tmp_path / "out", tiny_model(tmp_path / "base"), replace(SFT, epochs=3.0), rows(1))
    assert facts["steps"] == 3 and facts["tokens"]["rows"] == 1 and facts["held_out"] is None


def test_fewer_rows_than_a_batch_are_all_learnt_in_each_step(tmp_path):
    facts = sft(tmp_path / "out", tiny_model(tmp_path / "base"), replace(SFT, epochs=2.0, held_out=0.0), rows(5))
    assert facts["steps"] == 2 and facts["tokens_seen"] == 2 * facts["tokens"]["tokens"]


def test_broken_text_and_empty_answers_are_counted_and_the_rest_learnt(tmp_path):
    odd = [
        {"instruction": "Say nothing.", "input": "", "output": ""},
        {"instruction": "Half a pair \ud83d of surrogates.", "input": "", "output": "It \udc00 stays."},
        {"instruction": "Null\x00byte", "input": "", "output": "\x00"},
        {"instruction": "Long.", "input": "", "output": "long " * 900},
    ]
    file = tmp_path / "odd.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in [*odd, *rows(8)]) + "{not json\n")
    facts = sft(tmp_path / "out", tiny_model(tmp_path / "base"), replace(SFT, held_out=0.0), file)
    told = {**facts["tokens"], **facts["data"]["rejected"]}
    assert facts["data"]["rows"] + sum(facts["data"]["rejected"].values()) == 13, told
    assert facts["tokens"]["rows"] >= 10, told


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": "3"},
        {"epochs": 0},
        {"batch_size": 8.0},
        {"device_batch": True},
        {"max_length": 64.5},
        {"max_steps": 0},
        {"save_steps": 1.5},
        {"seed": -1},
        {"seed": 2**40},
        {"seed": None},
        {"lora": {"rank": 4}},
        {"lora": True},
        {"packing": 0},
        {"packing": 512.0},
        {"template": None},
        {"learning_rate": None},
        {"learning_rate": float("nan")},
        {"held_out": None},
        {"weight_decay": -1},
        {"checkpointing": "no"},
        {"keep_checkpoints": 1},
        {"precision": None},
    ],
    ids=str,
)
def test_a_recipe_says_which_value_cannot_be(values):
    said = line_of(UsageError, lambda: SFTRecipe(**values))
    assert next(iter(values)) in said and "must be" in said


@pytest.mark.parametrize("values", [{"rank": 0}, {"alpha": 0}, {"dropout": 1.0}, {"rank": "4"}], ids=str)
def test_adapters_say_which_value_cannot_be(values):
    assert f"lora {next(iter(values))}" in line_of(UsageError, lambda: LoRA(**values))


@pytest.mark.parametrize("values", [{"margin": -1}, {"centering": float("inf")}], ids=str)
def test_a_reward_recipe_says_which_value_cannot_be(values):
    assert next(iter(values)) in line_of(UsageError, lambda: RewardRecipe(**values))


# --- the end of a run -----------------------------------------------------------------------------------------------


def test_a_run_that_was_stopped_before_its_card_gets_it_from_the_same_command(tmp_path, monkeypatch):
    from gpt4_instruct import tuning
    from gpt4_instruct.errors import InterruptedRunError, OutputExistsError

    base, out = tiny_model(tmp_path / "base"), tmp_path / "out"

    def stopped(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tuning, "write_model_card", stopped)
        said = line_of(InterruptedRunError, tuning.train_sft, rows(40), out, model=str(base), recipe=SFT)
    assert said == "stopped; the same command goes on from what is written"
    assert (out / "training.json").is_file() and not (out / "README.md").exists()
    with pytest.raises(OutputExistsError):
        tuning.train_sft(rows(40), out, model=str(base), recipe=SFT)
    assert (out / "README.md").read_text(encoding="utf-8").startswith("---")
    other = tmp_path / "other"  # a training.json of something else is left alone
    other.mkdir()
    (other / "training.json").write_text("{}")
    with pytest.raises(OutputError):
        tuning.train_sft(rows(40), other, model=str(base), recipe=SFT)
    assert [each.name for each in other.iterdir()] == ["training.json"]


@pytest.mark.parametrize("odd", [{"length_penalty": 2.0}, {"temperature": 0.0}, {"num_beams": 4}], ids=str)
def test_how_the_base_is_wont_to_generate_is_not_the_models(tmp_path, odd):
    from transformers import pipeline

    base = tiny_model(tmp_path / "base")
    config = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(json.dumps({**config, **odd}))
    sft(tmp_path / "out", base, replace(SFT, max_steps=1))
    ask = pipeline("text-generation", model=str(tmp_path / "out"))
    assert ask([{"role": "user", "content": "Name a planet."}], max_new_tokens=3)[0]["generated_text"]


def test_adapters_name_the_base_and_no_folder_of_yours(tmp_path):
    base, out = tiny_model(tmp_path / "base"), tmp_path / "deep" / "out"
    sft(out, base, replace(SFT, lora=LoRA(rank=2), max_steps=1))
    kept = {each.name: each.read_text() for each in (out / "adapter").iterdir() if each.suffix in (".json", ".md")}
    assert set(kept) == {"adapter_config.json"} and str(tmp_path) not in kept["adapter_config.json"]
    assert json.loads(kept["adapter_config.json"])["base_model_name_or_path"] == "base"


def test_what_fails_before_a_step_leaves_no_folder_above(tmp_path):
    base = tiny_model(tmp_path / "base")
    line_of(SourceError, sft, tmp_path / "deep" / "a" / "out", base, replace(SFT, max_length=10))
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(("count", "share"), [(2, 0.9), (4, 0.99), (3, 0.5)])
def test_something_is_always_left_to_learn(tmp_path, count, share):
    plan = replace(SFT, held_out=share, max_steps=1)
    facts = sft(tmp_path / "out", tiny_model(tmp_path / "base"), plan, rows(count))
    assert facts["tokens"]["rows"] >= 1
