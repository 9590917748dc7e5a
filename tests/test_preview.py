"""What `train preview` prints of a row: every token once, what is learnt in brackets, Chinese whole, what is lost."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from gpt4_instruct.errors import SourceError, UnknownNameError, UsageError
from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.training.preview import pieces, preview
from gpt4_instruct.training.tokens import Encoder
from tests.tiny import FAMILIES, needs_training, rows, scored_rows, tiny_tokenizer

pytestmark = needs_training

ROWS = [
    {"instruction": "说出最大的行星。", "input": "", "output": "木星。[bold]\x1b[31m 😀\nTwo  spaces\tand a tab"},
    {"instruction": "Plural?", "input": "mouse", "output": ""},
    {"output": "no instruction"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer("llama").save_pretrained(path)
    return str(path)


def shown(data, tokenizer, *, colours=False, **options):
    written = io.StringIO()
    out = Console(file=written, width=100, force_terminal=colours, color_system="standard" if colours else None)
    preview(data, tokenizer, out=out, **options)
    return written.getvalue()


def learnt(text):
    """What stands in brackets, in pieces."""
    return re.findall(r"⟦(.*?)⟧", text.replace("\n", ""))


def count(text, name):
    return re.search(rf"^ *{name} +(.*?) *$", text, re.MULTILINE)[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_are_the_text_again_and_no_token_is_lost(family):
    tokenizer = tiny_tokenizer(family)
    encoder = Encoder(tokenizer, 100_000)
    for output in ("木星。😀 Two  spaces\n\n\tand", "\ufffd a real one \ufffd", "ends in a half of 木"):
        (tokens,) = encoder.encode([(render_alpaca("说出最大的行星。"), output)])
        found = pieces(tokens.ids, tokenizer)
        assert [id for piece in found for id in piece.ids] == tokens.ids
        begin = tokenizer.bos_token or ""
        assert "".join(piece.text for piece in found) == begin + render_alpaca("说出最大的行星。") + output + (
            tokenizer.eos_token
        )
    (tokens,) = encoder.encode([("", "木星。")])
    texts = [piece.text for piece in pieces(tokens.ids, tokenizer)]
    assert {"木", "星", "。"} <= set(texts)
    cut = pieces(tokens.ids[tokens.prompt : tokens.prompt + 1], tokenizer)  # a third of a character
    assert [piece.text for piece in cut] == ["\ufffd"]


def test_bytes_that_stand_for_what_a_vocabulary_lacks_are_shown_as_their_character():
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(
        models.BPE({**{f"<0x{byte:02X}>": byte for byte in range(256)}, "a": 256}, [], byte_fallback=True)
    )
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)  # as LLaMA
    found = pieces(tokenizer("a木😀\ufffda")["input_ids"], tokenizer)
    assert [(piece.text, len(piece.ids)) for piece in found] == [
        ("a", 1),
        ("木", 3),
        ("😀", 4),
        ("\ufffd", 3),
        ("a", 1),
    ]
    alone = pieces([0xE6, 0x9C, 256], tokenizer)
    assert [piece.ids for piece in alone] == [(0xE6,), (0x9C,), (256,)]


def test_what_is_learnt_is_marked_without_colours_and_the_end_of_text_is_seen(folder):
    text = shown(ROWS, folder)
    assert "\x1b" not in text, "neither colours nor the row's own escapes"
    assert "".join(learnt(text)) == "木星。[bold]\\x1b[31m 😀↵Two  spaces\\tand a tab</s>"
    prompt = re.sub(r"[│₀-₉\n]", "", text[text.index("<s>") : text.index("⟦")])
    assert prompt == "<s>" + render_alpaca("说出最大的行星。").replace("\n", "↵")
    assert "⟦木⟧₃" in text, "three tokens, one character"


def test_colours_say_the_same(folder):
    text = shown(ROWS, folder, colours=True)
    assert re.search(r"\x1b\[2m<s>", text), "the prompt is dim"
    assert re.search(r"\x1b\[1;32m⟦木⟧", text), "the answer is green"
    assert "\\x1b[31m" in text.replace("⟧", "").replace("⟦", "").replace("\x1b[1;32m", "").replace("\x1b[0m", "")


def test_the_counts_are_those_of_training(folder):
    tokenizer = tiny_tokenizer("llama")
    (whole,) = Encoder(tokenizer, 100_000).encode([(render_alpaca(ROWS[0]["instruction"]), ROWS[0]["output"])])
    text = shown(ROWS, folder)
    assert count(text, "learnt from") == "yes"
    assert count(text, "tokens") == str(len(whole.ids))
    assert count(text, "of the prompt") == str(whole.prompt)
    assert count(text, "supervised") == str(len(whole.ids) - whole.prompt)
    assert count(text, "cut off") == "nothing"
    short = whole.prompt + 5
    text = shown(ROWS, folder, max_length=short)
    assert count(text, "tokens") == str(short)
    assert count(text, "supervised") == "5"
    assert count(text, "cut off").startswith(f"{len(whole.ids) - short} tokens beyond {short}")
    assert "</s>" not in text


def test_a_row_that_would_be_dropped_says_why(folder):
    text = shown(ROWS, folder, row=1)
    assert count(text, "learnt from") == "no: it has no answer"
    assert count(text, "supervised") == "0"
    assert not learnt(text)
    text = shown(ROWS, folder, max_length=20)
    assert re.fullmatch(r"no: its prompt alone has \d{2,3} tokens, and max_length is 20", count(text, "learnt from"))
    assert not learnt(text)


def test_ids_are_shown_on_request(folder):
    tokenizer = tiny_tokenizer("llama")
    (tokens,) = Encoder(tokenizer, 512).encode([(render_alpaca("Name a fish."), "Cod.")])
    text = shown([{"instruction": "Name a fish.", "output": "Cod."}], folder, ids=True).replace("\n", "")
    listed = [int(each) for each in re.findall(r"(?<= )\d+(?=[ ⟧│])", text[: text.index("learnt from")])]
    assert [each for each in listed if each >= 0][-len(tokens.ids) :] == tokens.ids
    assert f"⟦</s> {tokenizer.eos_token_id}⟧" in text


def test_a_token_across_the_boundary_is_told(tmp_path):
    from tests.test_tokens import merging

    merging("punctuation").save_pretrained(tmp_path)
    text = shown([{"instruction": "Say hi.", "output": "\nHi."}], str(tmp_path))
    assert count(text, "prompt and answer").startswith("tokenized apart, for ':\\n' would be one token")
    assert "".join(learnt(text)).startswith("↵Hi.")
    text = shown([{"instruction": "Say hi.", "output": "Hi."}], str(tmp_path))
    assert count(text, "prompt and answer") == "no token lies across"


def test_scored_answers_are_shown_with_their_pairs_as_training_has_them(folder):
    from collections import Counter

    from gpt4_instruct.sources.rows import open_rows
    from gpt4_instruct.training.pairs import encode_pairs

    answers = [
        {"response": "木星。", "source": "gpt-4", "score": 9},
        {"response": "Jupiter.", "source": "[b]", "score": 9.0},
        {"response": "", "source": "c", "score": 2},
        {"response": "Mars.", "source": "d", "score": None},
        {"response": "木星。", "source": "e", "score": 7.5},
    ]
    data = [*scored_rows(2), {"user_input": "说出最大的行星。", "responses_and_scores": answers}]
    text = shown(data, folder, row=2)
    assert "answer 1: score 9, gpt-4" in text
    assert "answer 2: score 9, [b]" in text
    assert "answer 4: no score, d" in text
    assert "answers 1 and 2: a tie at 9" in text
    assert "answers 1 and 5: no pair, for they read the same" in text
    assert "answer 5 (7.5) is better than answer 3 (2)" in text
    assert text.count("</s>") == len(answers), "the reward is read at the end of each"
    for row in range(len(data)):
        counts = Counter()
        (_, _, samples) = list(open_rows(data))[row]
        encode_pairs(samples, tiny_tokenizer("llama"), counts=counts)
        text = shown(data, folder, row=row)
        assert count(text, "pairs") == str(counts["pairs"])
        assert text.count(": a tie at") == counts["ties"]
        assert text.count("for they read the same") == counts["same_text"]
    tied = [{"user_input": "?", "responses_and_scores": [{"response": "a", "source": "", "score": 1}] * 2}]
    assert count(shown(tied, folder), "learnt from") == "no: no answer is better than another"


def test_a_row_of_several_answers_shows_each(folder):
    chat = {"messages": [{"role": role, "content": f"{role}!"} for role in ("user", "assistant", "user", "assistant")]}
    text = shown([chat], folder)
    assert "row 0 of rows, answer 1 of 2, alpaca template" in text
    assert "row 0 of rows, answer 2 of 2, alpaca template" in text


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"row": 3}, UsageError, "there is no row 3 in rows: it has 3, from 0 on"),
        ({"row": -1}, UsageError, "rows count from 0"),
        ({"row": 2}, SourceError, "row 2 of rows cannot be used"),
        ({"template": "vicuna"}, UnknownNameError, "unknown template"),
        ({"template": "chat"}, UsageError, "has no chat template"),
        ({"max_length": 1}, UsageError, "max_length is 1"),
    ],
)
def test_what_cannot_be_shown_is_one_line(folder, options, error, told):
    with pytest.raises(error, match=told) as caught:
        shown(ROWS, folder, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no-such-folder", "org/no-such-model", "a@b@c"])
def test_a_tokenizer_that_is_not_there_is_one_line(name):
    with pytest.raises(UsageError) as caught:
        shown(ROWS, name)
    assert name.partition("@")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_the_tokenizers_own_template(tmp_path):
    tokenizer = tiny_tokenizer("qwen2")
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(tmp_path)
    text = shown([{"instruction": "说出最大的行星。", "output": "木星。"}], str(tmp_path), template="chat")
    assert "".join(learnt(text)) == "木星。<|endoftext|>"
    assert re.sub(r"[│₀-₉\n]", "", text[: text.index("⟦")]).endswith("<|user|>说出最大的行星。<|assistant|>")
    with pytest.raises(UsageError, match="in the alpaca template"):
        shown(scored_rows(1), str(tmp_path), template="chat")


def test_every_row_of_the_seeds_can_be_shown(folder):
    data = rows(160)
    for row in range(0, 160, 20):
        assert "".join(learnt(shown(data, folder, row=row, max_length=100_000))).endswith("</s>")
