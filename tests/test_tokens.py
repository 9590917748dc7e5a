"""Rows as tokens: the prompt's ids are those of asking, the answer's text comes back whole, and nothing else is learnt."""

from __future__ import annotations

import copy
import json
from collections import Counter

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt4_instruct.asking import form_of, prompt_ids
from gpt4_instruct.errors import SourceError, UnknownNameError, UsageError
from gpt4_instruct.prompts.tasks import alpaca_chat_template, render_alpaca
from gpt4_instruct.training.loading import use_template
from gpt4_instruct.training.tokens import IGNORED, Encoder, encode
from tests.smollm2 import needs_smollm2
from tests.tiny import FAMILIES, needs_training, rows, sentencepiece_tokenizer, tiny_tokenizer

pytestmark = needs_training

MERGES = [":\n", ":\n\n", ":)", ": ", "  ", "\n\n", " a", "木星", "。\n", "</s>"]


def merging(kind: str):
    """Tokenizers that have a token across the prompt's end: ``:`` and newlines, ``:)`` and so on."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>") if kind == "metaspace" else models.BPE())
    if kind == "metaspace":  # as LLaMA: a text begins with a space that is not in it
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        backend.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
        alphabet = list({letter for text in MERGES for letter in text} | set(render_alpaca("a", "b")))
    else:  # as LLaMA 3 and Qwen: punctuation and the newlines behind it are one piece
        pattern = Regex(r"[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s*[\p{L}\p{N}]+|\s+")
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(pattern, "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<unk>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    corpus = [f"Response{merge}{merge}Response{merge}" for merge in MERGES[:-1] for _ in range(20)]
    backend.train_from_iterator([*corpus, *(" ".join(each.values()) for each in rows(160))], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


TOKENIZERS = {
    "byte-level": lambda: tiny_tokenizer("qwen2"),
    "begins": lambda: tiny_tokenizer("llama"),
    "same end": lambda: tiny_tokenizer("opt"),
    "punctuation": lambda: merging("punctuation"),
    "metaspace": lambda: merging("metaspace"),
}


@pytest.fixture(scope="module")
def made():
    return {name: make() for name, make in TOKENIZERS.items()}


def two_passes(tokenizer, prompt: str, completion: str) -> tuple[list[int], list[int]]:
    asked = tokenizer(prompt, split_special_tokens=True)["input_ids"]
    return asked, tokenizer(prompt + completion, split_special_tokens=True)["input_ids"]


letters = st.sampled_from([*MERGES, "a", "b c", "木", "é", "🙂", "Response", "###", "\t", " ", "\n", "<", "1"])
texts = st.lists(letters, min_size=1, max_size=6).map("".join)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(instruction=texts, output=texts)
@settings(max_examples=120, deadline=None)
def test_the_prompt_is_as_when_asked_and_the_answer_comes_back(made, name, instruction, output):
    tokenizer = made[name]
    prompt = render_alpaca(instruction)
    (found,) = Encoder(tokenizer, 4_096).encode([(prompt, output)])
    asked, whole = two_passes(tokenizer, prompt, output)
    assert found.ids[: found.prompt] == asked
    assert found.ids[-1] == tokenizer.eos_token_id and tokenizer.eos_token_id not in found.ids[found.prompt : -1]
    if whole[: len(asked)] == asked:  # no token lies across: one pass and two are the same
        assert found.ids[:-1] == whole
    if tokenizer.unk_token_id is None or tokenizer.unk_token_id not in found.ids:
        assert tokenizer.decode(found.ids[:-1], clean_up_tokenization_spaces=False).endswith(prompt + output)


@pytest.mark.parametrize(("name", "output"), [("punctuation", "\nYes."), ("punctuation", "\n\nYes.")])
def test_a_token_across_the_boundary_is_parted(made, name, output):
    tokenizer = made[name]
    prompt = render_alpaca("Name one.")
    asked, whole = two_passes(tokenizer, prompt, output)
    assert whole[: len(asked)] != asked, "the example has no such token"
    (found,) = Encoder(tokenizer).encode([(prompt, output)])
    assert found.ids[: found.prompt] == asked
    assert tokenizer.decode(found.ids[found.prompt : -1]) == output


def test_a_tokenizer_without_offsets_gives_the_same(made):
    class Slow:
        """What a tokenizer in Python offers."""

        is_fast = False

        def __init__(self, fast):
            self.fast = fast

        def __getattr__(self, name):
            return getattr(self.fast, name)

        def __call__(self, *args, **options):
            return self.fast(*args, **options)

    pairs = [(render_alpaca(each["instruction"], each["input"]), each["output"]) for each in rows(40)]
    fast = made["begins"]
    assert Encoder(Slow(fast)).encode(pairs) == Encoder(fast).encode(pairs)


@pytest.mark.parametrize("family", [*FAMILIES, "sentencepiece"])
def test_the_chat_template_asks_in_the_bytes_that_were_learnt(family, tmp_path, capsys):
    tokenizer = sentencepiece_tokenizer(tmp_path) if family == "sentencepiece" else tiny_tokenizer(family)
    encoder = Encoder(tokenizer)
    use_template(tokenizer, "alpaca")
    assert capsys.readouterr().err == ""
    if family != "sentencepiece":
        assert tokenizer.chat_template == alpaca_chat_template(begins=family != "qwen2")
    for row in rows(40):
        question = {"role": "user", "content": row["instruction"], "input": row["input"]}
        prompt, output = encoder.render(row["instruction"], row["input"], row["output"])
        assert tokenizer.apply_chat_template([question], tokenize=False, add_generation_prompt=True).endswith(prompt)
        (found,) = encoder.encode([(prompt, output)])
        asked = tokenizer.apply_chat_template([question], add_generation_prompt=True)["input_ids"]
        assert asked == found.ids[: found.prompt]
        rendered = [{"role": "user", "content": prompt}]  # as a teacher is asked
        assert tokenizer.apply_chat_template(rendered, add_generation_prompt=True)["input_ids"] == asked
        answered = [question, {"role": "assistant", "content": row["output"]}]
        assert tokenizer.apply_chat_template(answered)["input_ids"] == found.ids


def test_a_space_that_is_read_only_before_the_first_word_is_written_behind_the_begin(tmp_path):
    tokenizer = sentencepiece_tokenizer(tmp_path)
    prompt = render_alpaca("Say hi.")
    begun = tokenizer(f"<s>{prompt}", add_special_tokens=False)["input_ids"]
    assert begun != tokenizer(prompt)["input_ids"], "the example has no such tokenizer"
    use_template(tokenizer, "alpaca")
    asked = [{"role": "user", "content": "Say hi."}]
    assert tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) == f"<s> {prompt}"
    tokenizer.save_pretrained(tmp_path)
    assert form_of(tmp_path) == "alpaca"


def test_a_tokenizer_that_no_template_fits_is_told_and_keeps_the_nearest(tmp_path, capsys):
    from tokenizers import normalizers

    tokenizer = sentencepiece_tokenizer(tmp_path)
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()  # of the space that would be written, too
    use_template(tokenizer, "alpaca")
    assert "otherwise than the text that was learnt" in capsys.readouterr().err
    assert tokenizer.chat_template == alpaca_chat_template(begins=True)


def test_the_chat_template_takes_parts_of_text_and_no_content():
    tokenizer = tiny_tokenizer()
    use_template(tokenizer, "alpaca")

    def asked(*messages):
        return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)

    picture = {"type": "image_url", "image_url": {"url": "x"}}
    parts = [{"type": "text", "text": "Say "}, picture, {"type": "text", "text": "hi."}]
    assert asked({"role": "user", "content": parts}) == f"<s>{render_alpaca('Say hi.')}"
    whole = [{"type": "text", "text": render_alpaca("Say hi.")}]
    assert asked({"role": "user", "content": whole}) == f"<s>{render_alpaca('Say hi.')}"
    for nothing in ({}, {"content": None}, {"content": ""}, {"content": []}):
        turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", **nothing}, {"role": "user", **nothing}]
        assert asked(*turns) == f"<s>{render_alpaca('Hi.')}</s>\n\n### Instruction:\n\n\n### Response:"
    system = {"role": "system", "content": [{"type": "text", "text": "Be short."}]}
    assert asked(system, {"role": "user", "content": "Hi."}) == f"<s>Be short.\n\n{render_alpaca('Hi.')}"


def test_the_base_models_own_template_is_learnt_up_to_its_end():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    encoder = Encoder(tokenizer, template="chat")
    prompt, completion = encoder.render("Add.", "1 2", "3")
    assert (prompt, completion) == ("[user]Add.\n\n1 2</s>\n[assistant]", "3</s>\n")
    (found,) = encoder.encode([(prompt, completion)])
    assert tokenizer.decode(found.ids[: found.prompt]) == prompt
    assert tokenizer.decode(found.ids[found.prompt :]) == "3</s>"


CHAT = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] | trim }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.mark.parametrize("name", ["byte-level", "begins", "punctuation", "metaspace", "sentencepiece"])
@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What does {end} mean?", "Yes."),
        ("Mark it.", "Write <s>word{end} and then {end}"),
        ("{end}", "{end}{end}\n木星"),
        ("<{end}/s>", " : {end}x"),
    ],
)
def test_a_special_token_in_a_message_is_letters_and_cuts_nothing(made, tmp_path, name, question, answer):
    tokenizer = sentencepiece_tokenizer(tmp_path) if name == "sentencepiece" else copy.deepcopy(made[name])
    tokenizer.chat_template = CHAT
    end, letters = tokenizer.eos_token_id, tokenizer.eos_token
    question, answer = question.format(end=letters), answer.format(end=letters)
    encoder = Encoder(tokenizer, template="chat")
    (found, other) = encoder.encode([encoder.render(question, "", answer), encoder.render("Hi.", "", "Ho.")])
    asked, said = found.ids[: found.prompt], found.ids[found.prompt :]
    assert asked == prompt_ids(tokenizer, [{"role": "user", "content": question}])
    assert asked.count(end) == 1 and said.count(end) == 1 and said[-1] == end
    if tokenizer.unk_token_id is None or name == "sentencepiece":  # else it has no [
        whole = f"[user]{question}{letters}\n[assistant]{answer.strip()}{letters}"
        assert tokenizer.decode(found.ids, clean_up_tokenization_spaces=False) == whole
    if name in ("byte-level", "begins"):  # where each piece can be read alone
        pieces = [f"[user]{question}", f"\n[assistant]{answer.strip()}"]
        ids = [tokenizer(each, add_special_tokens=False, split_special_tokens=True)["input_ids"] for each in pieces]
        assert found.ids == [*ids[0], end, *ids[1], end]
    # The row beside it is as it would be alone, and as transformers reads it.
    text = "[user]Hi." + letters + "\n[assistant]Ho." + letters
    assert [other] == encoder.encode([encoder.render("Hi.", "", "Ho.")])
    assert other.ids == tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("family", [*FAMILIES, "sentencepiece"])
def test_a_question_about_a_special_token_is_asked_as_it_was_learnt(family, tmp_path):
    tokenizer = sentencepiece_tokenizer(tmp_path) if family == "sentencepiece" else tiny_tokenizer(family)
    encoder = Encoder(tokenizer)
    use_template(tokenizer, "alpaca")
    for question in (f"What does {tokenizer.eos_token} mean?", f"{tokenizer.eos_token}<s>", "Plain."):
        (found,) = encoder.encode([encoder.render(question, "", "The end.")])
        for content in (question, render_alpaca(question)):
            asked = prompt_ids(tokenizer, [{"role": "user", "content": content}])
            assert asked == found.ids[: found.prompt]


def test_rows_become_columns_and_what_is_dropped_is_counted():
    tokenizer = tiny_tokenizer()
    data = [*rows(20), {"instruction": "a b c " * 200, "input": "", "output": "x"}, {**rows(1)[0], "output": " "}]
    data.append({**rows(1)[0], "output": "a b c " * 200})
    counts: Counter[str] = Counter()
    found = encode(Dataset.from_list(data), tokenizer, 400, counts=counts)
    assert len(found) == 21 and found.column_names == ["input_ids", "labels", "length"]
    assert (counts["rows"], counts["dropped_no_answer"], counts["dropped_too_long"], counts["truncated"]) == (
        23,
        1,
        1,
        1,
    )
    assert counts["tokens"] == sum(found["length"])
    assert counts["supervised_tokens"] == sum(label != IGNORED for labels in found["labels"] for label in labels)
    for row, source in zip(found, [*data[:20], data[22]], strict=True):
        learnt = [label for label in row["labels"] if label != IGNORED]
        assert row["input_ids"][-len(learnt) :] == learnt and len(row["input_ids"]) == row["length"] <= 400
        text = tokenizer.decode(learnt)
        assert (source["output"] + "</s>").startswith(text) and (row["length"] == 400 or text.endswith("</s>"))


def test_other_shapes_are_read_and_what_cannot_be_is_one_line():
    tokenizer = tiny_tokenizer()
    chats = Dataset.from_list(
        [{"messages": [{"role": "user", "content": "说出最大的行星。"}, {"role": "assistant", "content": "木星。"}]}]
    )
    found = encode(chats, tokenizer)
    text = tokenizer.decode(found[0]["input_ids"], skip_special_tokens=True)
    assert text == render_alpaca("说出最大的行星。") + "木星。"
    with pytest.raises(SourceError, match="row 0 of the data cannot be read"):
        encode(Dataset.from_list([{"text": 1}]), tokenizer)
    with pytest.raises(SourceError, match="is max_length=8 too short"):
        encode(Dataset.from_list(rows(3)), tokenizer, 8)
    with pytest.raises(UnknownNameError, match="alpaca"):
        encode(chats, tokenizer, template="alpca")
    with pytest.raises(UsageError, match="has no chat template"):
        encode(chats, tokenizer, template="chat")
    with pytest.raises(UsageError, match="max_length is 1"):
        encode(chats, tokenizer, 1)
    tokenizer.eos_token = None
    with pytest.raises(UsageError, match="no end-of-text token"):
        encode(chats, tokenizer)


@needs_smollm2
def test_real_rows_with_a_real_tokenizer(shared_data):
    from transformers import AutoTokenizer

    from gpt4_instruct.models import smollm2_folder

    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    for name in ("alpaca_gpt4_en_500.json", "alpaca_gpt4_zh_500.json"):
        data = json.loads((shared_data / name).read_text())
        pairs = [(render_alpaca(each["instruction"], each["input"]), each["output"]) for each in data]
        across = 0
        for (prompt, output), found in zip(pairs, Encoder(tokenizer, 100_000).encode(pairs), strict=True):
            asked, whole = two_passes(tokenizer, prompt, output)
            across += whole[: len(asked)] != asked
            assert found.ids[: found.prompt] == asked
            assert tokenizer.decode(found.ids[:-1], clean_up_tokenization_spaces=False) == prompt + output
        assert across, "no real row has a token across the boundary"
