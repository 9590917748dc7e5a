"""Views of a dataset: exactly the columns that trainers read, and TRL's own trainers take them."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
from datasets import Dataset

from gpt4_instruct import Replay, SourceError, UnknownNameError, UsageError, load
from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.views import as_view

TRIPLES = Dataset.from_list(
    [
        {"instruction": "Add them.", "input": "1\n2", "output": " 3 "},
        {"instruction": "说出最大的行星。", "input": "", "output": "木星。"},
    ]
)
PROMPT = render_alpaca("Say hi.")


def comparison(*scores):
    answers = [
        {"response": f"Hi {place}.", "source": f"m{place}", "score": score} for place, score in enumerate(scores)
    ]
    return Dataset.from_list([{"user_input": PROMPT, "responses_and_scores": answers}])


def test_messages_and_prompt_with_completion():
    assert as_view(TRIPLES, "messages").to_list() == [
        {"messages": [{"role": "user", "content": "Add them.\n\n1\n2"}, {"role": "assistant", "content": " 3 "}]},
        {"messages": [{"role": "user", "content": "说出最大的行星。"}, {"role": "assistant", "content": "木星。"}]},
    ]
    assert as_view(TRIPLES, "prompt_completion").to_list() == [
        {"prompt": render_alpaca("Add them.", "1\n2"), "completion": " 3 "},
        {"prompt": render_alpaca("说出最大的行星。"), "completion": "木星。"},
    ]


def pairs(dataset, **options):
    found = as_view(dataset, "preference", **options)
    assert found.column_names == ["prompt", "chosen", "rejected"]
    assert set(found["prompt"]) <= {PROMPT}
    return [(row["chosen"], row["rejected"]) for row in found]


def test_preferences_are_the_pairs_whose_scores_differ():
    assert pairs(comparison(9.0, 3.0, 7.0)) == [("Hi 0.", "Hi 1."), ("Hi 0.", "Hi 2."), ("Hi 2.", "Hi 1.")]
    assert pairs(comparison(9.0, 3.0, 7.0), pairs="best_worst") == [("Hi 0.", "Hi 1.")]
    assert pairs(comparison(5.0, 5.0, 8.0)) == [("Hi 2.", "Hi 0."), ("Hi 2.", "Hi 1.")], "a tie is no pair"
    for options in ({}, {"pairs": "best_worst"}):
        assert pairs(comparison(5.0, 5.0), **options) == pairs(comparison(None, None), **options) == []
        assert pairs(comparison(None, 2.0, float("nan"), 1.0), **options) == [("Hi 1.", "Hi 3.")]
    assert pairs(comparison(5.0)) == []


def test_comparisons_without_scores_say_by_their_names_which_is_better():
    first = Dataset.from_list([{"user_input": PROMPT, "completion_a": "Hi!", "completion_b": "?"}])
    ready = Dataset.from_list([{"prompt": PROMPT, "chosen": "Hi!", "rejected": "?"}])
    for dataset in (first, ready):
        assert pairs(dataset) == pairs(dataset, pairs="best_worst") == [("Hi!", "?")]
    graded = Dataset.from_list(
        [{"prompt": PROMPT, "chosen": "Hi!", "rejected": "?", "score_chosen": 2.0, "score_rejected": 2.0}]
    )
    assert pairs(graded) == [], "its scores say that neither is better"


def test_any_shape_has_views():
    chat = Dataset.from_list(
        [{"messages": [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": "Hi."}]}]
    )
    core = Dataset.from_list(
        [{"instruction": "Say it.", "instances": [{"input": word, "output": word} for word in "ab"]}]
    )
    assert as_view(chat, "prompt_completion").to_list() == [{"prompt": PROMPT, "completion": "Hi."}]
    assert as_view(core, "prompt_completion")["prompt"][:] == [render_alpaca("Say it.", word) for word in "ab"]
    rendered = as_view(TRIPLES, "prompt_completion")
    assert as_view(rendered, "messages").to_list() == as_view(TRIPLES, "messages").to_list()
    assert as_view(TRIPLES.select([]), "messages").features == as_view(TRIPLES, "messages").features


@pytest.mark.parametrize(
    ("dataset", "view", "error", "says"),
    [
        (TRIPLES, "chat", UnknownNameError, "Known: messages, preference, prompt_completion"),
        (TRIPLES, "preference", UsageError, "row 0 has one answer"),
        (comparison(1.0, 2.0), "messages", UsageError, "row 0 has several answers: it can be viewed as preference"),
        (
            Dataset.from_list([{"text": "Once."}]),
            "messages",
            SourceError,
            "row 0 of the dataset cannot be read: no 'inst",
        ),
    ],
)
def test_what_cannot_be_viewed_is_one_line(dataset, view, error, says):
    with pytest.raises(error, match=says) as caught:
        as_view(dataset, view)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="all or best_worst"):
        as_view(dataset, "messages", pairs="some")


def test_load_gives_a_view(tmp_path):
    path = tmp_path / "tasks.json"
    task = {"instruction": "Say hi.", "input": "", "output": "Hi."}
    path.write_text(json.dumps([task]))
    found = load("english", source=path, teacher=Replay([task]), view="prompt_completion")
    assert found.to_list() == [{"prompt": PROMPT, "completion": "Hi."}]
    with pytest.raises(UnknownNameError, match="did you mean 'messages'"):
        load("english", source=path, teacher=Replay([task]), view="message")


def test_the_real_samples_have_views(shared_data):
    rows = json.loads((shared_data / "alpaca_gpt4_zh_500.json").read_text())
    found = as_view(Dataset.from_list(rows), "messages")["messages"]
    assert [each[1]["content"] for each in found] == [row["output"] for row in rows]
    lines = (shared_data / "comparison_alpaca_eval_400.jsonl").read_text().splitlines()
    scored = Dataset.from_list([json.loads(line) for line in lines])
    best = as_view(scored, "preference", pairs="best_worst")
    assert 370 <= len(best) <= 400 and len(best) < len(as_view(scored, "preference")) <= 1200


# --- TRL's own trainers ----------------------------------------------------------------------------------------------

needs_trl = pytest.mark.skipif(not find_spec("trl"), reason="pip install trl")


@pytest.fixture(scope="module")
def tokenizer():
    """Words and punctuation of the texts below, with the template that a chat needs."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bytes_of_words = Tokenizer(models.BPE())
    bytes_of_words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_of_words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<eos>", "<user>", "<assistant>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bytes_of_words.train_from_iterator([PROMPT, "木星。"], trainer)
    found = PreTrainedTokenizerFast(tokenizer_object=bytes_of_words, eos_token="<eos>", pad_token="<pad>")
    found.chat_template = (
        "{% for message in messages %}<{{ message.role }}>{{ message.content }}"
        "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    return found


def tiny(tokenizer, kind="AutoModelForCausalLM", **config):
    import transformers

    settings = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
        **config,
    )  # fmt: skip
    return getattr(transformers, kind).from_config(settings)


def arguments(tmp_path, **more):
    quiet = {"report_to": "none", "use_cpu": True, "bf16": False, "disable_tqdm": True, "save_strategy": "no"}
    return {"output_dir": str(tmp_path), "max_steps": 1, "per_device_train_batch_size": 2, **quiet, **more}


@needs_trl
@pytest.mark.parametrize("view", ["messages", "prompt_completion"])
def test_trl_tunes_on_a_view(view, tokenizer, tmp_path):
    import trl

    config = trl.SFTConfig(**arguments(tmp_path))
    trainer = trl.SFTTrainer(
        tiny(tokenizer), args=config, train_dataset=as_view(TRIPLES, view), processing_class=tokenizer
    )
    batch = next(iter(trainer.get_train_dataloader()))
    texts = [tokenizer.decode(ids[ids != tokenizer.pad_token_id]) for ids in batch["input_ids"]]
    first = next(text for text in texts if "Add them." in text)
    if view == "messages":
        assert first == "<user>Add them.\n\n1\n2<assistant> 3 <eos>"
    else:
        # The prompt is the Alpaca one to the byte, and only the response counts.
        assert first == render_alpaca("Add them.", "1\n2") + " 3 <eos>"
        counted = {tokenizer.decode(labels[labels != -100]) for labels in batch["labels"]}
        assert counted == {" 3 <eos>", "木星。<eos>"}
    assert trainer.train().training_loss > 0


@needs_trl
@pytest.mark.parametrize("kind", ["reward", "dpo"])
def test_trl_prepares_preferences(kind, tokenizer, tmp_path):
    import trl

    data = as_view(comparison(9.0, 3.0, 7.0), "preference")
    if kind == "reward":
        model = tiny(tokenizer, "AutoModelForSequenceClassification", num_labels=1)
        config = trl.RewardConfig(**arguments(tmp_path))
        trainer = trl.RewardTrainer(model, args=config, train_dataset=data, processing_class=tokenizer)
    else:
        config = trl.DPOConfig(**arguments(tmp_path))
        models = [tiny(tokenizer) for _ in range(2)]
        trainer = trl.DPOTrainer(*models, args=config, train_dataset=data, processing_class=tokenizer)
    assert len(trainer.train_dataset) == 3
    row = trainer.train_dataset[0]
    chosen = row["chosen_ids"] if kind == "reward" else row["prompt_ids"] + row["chosen_ids"]
    assert tokenizer.decode(chosen) == PROMPT + "Hi 0.<eos>"
    assert trainer.train().training_loss > 0
