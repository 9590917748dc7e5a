"""Talking with a model: answers that come as they are written, a history that is kept, a terminal that stays in hand."""

from __future__ import annotations

import io
import os
import pty
import random
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct import chat as chatting
from gpt4_instruct.chat import Conversation, TextStream, chat
from gpt4_instruct.cli.app import main
from gpt4_instruct.errors import InterruptedRunError, UsageError
from gpt4_instruct.prompts.tasks import ALPACA_NO_INPUT, render_alpaca
from gpt4_instruct.records import Message, Sampling
from tests.forks import Forked
from tests.tiny import FAMILIES, needs_training, tiny_model, tiny_tokenizer

pytestmark = [
    needs_training,
    pytest.mark.skipif(not all(map(find_spec, ("torch", "transformers"))), reason="pip install '.[local]'"),
]

BROKEN = "\ufffd"
CHINESE = "木星是最大的行星。龘靐齉爩，𠮷野家🪐！\n它有多大？"


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models without a chat template, one with a template of its own, and one with a head."""
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path_factory.mktemp("models")
    found = {name: tiny_model(folder / name) for name in ("plain", "chatty", "reward")}
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}\n{% endfor %}<|assistant|>"
    )
    tokenizer.save_pretrained(found["chatty"])
    head = AutoModelForSequenceClassification.from_pretrained(found["plain"], num_labels=1)
    head.save_pretrained(found["reward"])
    return found


class Shown(io.StringIO):
    """An output that remembers each piece that is written, and how many tokens the model had drawn by then."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[tuple[int, str]] = []
        self.drawn = 0

    def write(self, text: str) -> int:
        self.pieces.append((self.drawn, text))
        return super().write(text)


class Scripted:
    """Stands where tokens are drawn: the model computes, and what it would say is replaced by given answers.

    `prompts` has the token ids of each question as the model got them.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: list[str], shown: Shown | None = None) -> None:
        tokenizer = tiny_tokenizer()
        self.prompts: list[list[int]] = []
        left = iter(answers)
        script = self

        class Draw:
            def __init__(self, batch: Any, device: str) -> None:
                ids = tokenizer(next(left), add_special_tokens=False)["input_ids"]
                self.tokens = iter([*ids, tokenizer.eos_token_id])
                self.begun = False

            def __call__(self, input_ids: Any, scores: Any) -> Any:
                if not self.begun:
                    script.prompts.append(input_ids[0].tolist())
                    self.begun = True
                if shown is not None:
                    shown.drawn += 1
                scores = scores.fill_(-1e9)
                scores[0, next(self.tokens)] = 0.0
                return scores

        monkeypatch.setattr(chatting, "Draw", Draw)

    def texts(self) -> list[str]:
        tokenizer = tiny_tokenizer()
        return [tokenizer.decode(each, clean_up_tokenization_spaces=False) for each in self.prompts]


def talk(model: Path, text: str, shown: Shown | None = None, **options: Any) -> str:
    """Everything that a program gets that writes `text` to `chat`."""
    shown = shown or Shown()
    chat(str(model), input=io.StringIO(text), output=shown, **options)
    return shown.getvalue()


def conversation(model: Path, max_tokens: int = 64, system: str | None = None) -> Conversation:
    return Conversation.open(str(model), Sampling(0.7, 0.9, max_tokens), system)


# --- tokens as text -------------------------------------------------------------------------------------------------


def pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    stream = TextStream(tokenizer)
    found = [stream.add(each) for each in ids]
    assert BROKEN not in "".join(found)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_character_of_several_tokens_comes_when_it_is_whole(family):
    tokenizer = tiny_tokenizer(family)
    ids = tokenizer(CHINESE, add_special_tokens=False)["input_ids"]
    several = sum(BROKEN in tokenizer.decode([each]) for each in ids)
    assert several > 20, "most of these characters are spelled by tokens that are no character"
    found = pieces(tokenizer, ids)
    assert "".join(found) == CHINESE
    assert found.count("") >= 10
    so_far = ""
    for number, piece in enumerate(found, start=1):  # nothing whole is held back
        so_far += piece
        assert so_far == tokenizer.decode(ids[:number], clean_up_tokenization_spaces=False).rstrip(BROKEN)


def test_bytes_alone_are_put_together():
    """Each byte a token, as a model writes what its vocabulary has no token for."""
    from tokenizers import pre_tokenizers

    tokenizer = tiny_tokenizer()
    ids = []
    for byte in "木星 is 𠮷 🪐.".encode():
        # ByteLevel's own letter for each byte: a merged vocabulary still has all 256.
        ids.append(tokenizer.convert_tokens_to_ids(_letters()[byte]))
    assert None not in ids and set(_letters().values()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert "".join(pieces(tokenizer, ids)) == "木星 is 𠮷 🪐."


def _letters() -> dict[int, str]:
    """Byte to the letter that byte-level vocabularies write it as (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [each for each in range(256) if each not in plain]
    return {each: chr(each) for each in plain} | {each: chr(256 + place) for place, each in enumerate(others)}


def test_any_tokens_at_all_give_the_text_without_what_is_no_character():
    tokenizer, rng = tiny_tokenizer(), random.Random(0)
    begins = [tokenizer.convert_tokens_to_ids(_letters()[byte]) for byte in (0xE4, 0xBD, 0xF0, 0x9F, 0xFF)]
    chinese = tokenizer(CHINESE, add_special_tokens=False)["input_ids"]
    for _ in range(100):
        ids: list[int] = []
        for _ in range(12):
            ids += rng.choices(begins, k=rng.randrange(4)) + chinese[: rng.randrange(8)] + [rng.randrange(3, 800)]
        whole = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert "".join(pieces(tokenizer, ids)) == whole.replace(BROKEN, "")


def test_a_model_that_writes_only_broken_bytes_comes_back():
    tokenizer = tiny_tokenizer()
    broken = tokenizer.convert_tokens_to_ids(_letters()[0xBD])
    after = tokenizer(" " + CHINESE, add_special_tokens=False)["input_ids"]
    for count in (1, 63, 64, 65, 66, 67, 300):
        started = TextStream(tokenizer)
        found = "".join(started.add(each) for each in [broken] * count + after)
        assert found == " " + CHINESE
        assert len(started._window) < 100


def test_words_and_bytes_of_a_sentencepiece_vocabulary():
    """As LLaMA's own: a space stands before a word only where there is one before it; other characters are bytes."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", "▁Jupiter", "▁is", "▁", "木", "."]
    names = [*words, *(f"<0x{byte:02X}>" for byte in range(256))]
    backend = Tokenizer(models.BPE({name: id for id, name in enumerate(names)}, [], byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    asked = ["▁Jupiter", "▁is", "▁", "木", *(f"<0x{byte:02X}>" for byte in "星龘".encode()), "."]
    found = pieces(tokenizer, [names.index(each) for each in asked])
    assert found == ["Jupiter", " is", " ", "木", "", "", "星", "", "", "龘", "."]


# --- from a pipe ----------------------------------------------------------------------------------------------------


def test_each_answer_is_one_line_and_chinese_stays_whole(models, monkeypatch):
    shown = Shown()
    script = Scripted(monkeypatch, [CHINESE, "Two\nlines.\n\nThree.\n", ""], shown)
    text = talk(models["plain"], "它有多大？\n\n  Say hi.  \nNothing?\n", shown)
    assert text.split("\n") == [CHINESE.replace("\n", " "), "Two lines.  Three. ", "", ""]
    assert [each.split("### Instruction:\n")[-1] for each in script.texts()] == [
        f"{question}\n\n### Response:" for question in ("它有多大？", "Say hi.", "Nothing?")
    ]
    assert not any(BROKEN in piece for _, piece in shown.pieces)


def test_pieces_come_while_the_model_still_writes(models, monkeypatch):
    shown = Shown()
    Scripted(monkeypatch, [CHINESE], shown)
    talk(models["plain"], "它有多大？\n", shown)
    written = [(drawn, piece) for drawn, piece in shown.pieces if piece.strip()]
    total = shown.drawn
    assert len(written) > 15 and written[0][0] <= 3
    assert len({drawn for drawn, _ in written}) == len(written), "no token waits for another"
    assert written[-1][0] < total  # the end of the text, too, came before the answer's


def test_a_model_without_a_template_is_asked_in_the_alpaca_form(models, monkeypatch):
    script = Scripted(monkeypatch, ["木星。", "Big."])
    assert talk(models["plain"], "说出最大的行星。\nHow {big}?\n") == "木星。\nBig.\n"
    first, second = script.prompts
    assert first == tiny_tokenizer()(render_alpaca("说出最大的行星。"))["input_ids"]
    turns = render_alpaca("说出最大的行星。") + "木星。</s>\n\n### Instruction:\nHow {big}?\n\n### Response:"
    assert script.texts()[1] == f"<s>{turns}" and turns.count("Below is") == 1
    assert second[: len(first)] == first
    assert turns.startswith(ALPACA_NO_INPUT.split("{", maxsplit=1)[0])


def test_the_letters_of_a_special_token_are_letters_in_a_question(models, monkeypatch):
    tokenizer, question = tiny_tokenizer(), "What does </s> mean?"
    script = Scripted(monkeypatch, ["It ends.", "Yes."])
    talk(models["plain"], f"{question}\nAnd <s>?\n")
    first, second = script.prompts
    assert first == tokenizer(render_alpaca(question), split_special_tokens=True)["input_ids"]
    assert tokenizer.eos_token_id not in first and first.count(tokenizer.bos_token_id) == 1
    assert second[: len(first)] == first and second.count(tokenizer.eos_token_id) == 1  # behind the answer
    assert second.count(tokenizer.bos_token_id) == 1 and "And <s>?" in script.texts()[1]


def test_a_model_with_a_template_is_asked_by_it(models, monkeypatch):
    script = Scripted(monkeypatch, ["Hi.", "Bye."])
    talk(models["chatty"], "Say hi.\nSay bye.\n", system="Be short.")
    asked = "<|system|>\nBe short.\n<|user|>\nSay hi.\n"
    assert script.texts() == [
        f"{asked}<|assistant|>",
        f"{asked}<|assistant|>\nHi.\n<|user|>\nSay bye.\n<|assistant|>",
    ]


def test_what_was_said_goes_with_the_next_question_until_it_is_reset(models, monkeypatch):
    script = Scripted(monkeypatch, ["Jupiter.", "Big.", "What?"])
    text = talk(models["plain"], "Name a planet.\nHow big?\n/reset\nHow big?\n/exit\nNever asked.\n")
    assert text == "Jupiter.\nBig.\nWhat?\n"
    first, second, third = script.texts()
    assert "Name a planet." in second and "Jupiter.</s>" in second and "Jupiter" not in first
    assert third == f"<s>{render_alpaca('How big?')}"


def test_the_oldest_turns_go_where_the_context_is_full(models, monkeypatch):
    long = "Write one word after another. " * 12
    talked = conversation(models["chatty"], max_tokens=256, system="Be short.")
    script = Scripted(monkeypatch, ["The answer."] * 4)
    for number in range(4):
        assert talked.ask(f"{number}: {long}", lambda piece: None) == "The answer."
    assert talked.dropped > 0 and talked.dropped % 2 == 0
    assert talked.dropped + len(talked.messages) == 8
    last = script.texts()[-1]
    assert "3: Write" in last and "0: Write" not in last and last.startswith("<|system|>\nBe short.\n<|user|>")
    assert all(len(each) + 256 <= 512 for each in script.prompts)
    assert [each.role for each in talked.messages] == ["user", "assistant"] * (len(talked.messages) // 2)


def test_a_question_longer_than_the_context_is_one_line_and_nothing_is_forgotten(models, monkeypatch):
    Scripted(monkeypatch, ["Jupiter."])
    talked = conversation(models["plain"])
    talked.ask("Name a planet.", lambda piece: None)
    with pytest.raises(UsageError, match=r"this question has \d+ tokens, more than the model's context of 512"):
        talked.ask("word 木星 " * 400, lambda piece: None)
    assert talked.messages == [Message("user", "Name a planet."), Message("assistant", "Jupiter.")]
    assert talked.dropped == 0


def test_an_answer_ends_at_the_context_and_at_max_tokens(models, monkeypatch):
    shown = Shown()
    Scripted(monkeypatch, ["word " * 900] * 2, shown)
    talked = conversation(models["plain"], max_tokens=7)
    talked.ask("Go.", lambda piece: None)
    assert shown.drawn == 7
    shown.drawn = 0
    question = "word " * 250
    talked = conversation(models["plain"], max_tokens=500)
    length = len(tiny_tokenizer()(render_alpaca(question))["input_ids"])
    assert 300 < length < 512
    talked.ask(question, lambda piece: None)
    assert shown.drawn == 512 - length


def test_a_stopped_answer_is_kept_as_far_as_it_came(models, monkeypatch):
    Scripted(monkeypatch, ["One two three four five six.", "Next."])
    talked, came = conversation(models["plain"]), list[str]()
    answer = talked.ask("Count.", came.append, lambda: len(came) == 3)
    assert "".join(came).strip() == answer and answer and "six" not in answer
    assert talked.messages[-1] == Message("assistant", answer)
    assert talked.ask("Go on.", came.append) == "Next."


def test_the_same_seed_gives_the_same_answers(models):
    def said(**options: Any) -> str:
        return talk(models["plain"], "Say hi.\n说出行星。\n", temperature=1.0, top_p=1.0, max_tokens=16, **options)

    first = said(seed=3)
    assert said(seed=3) == first and len(first.strip()) > 5
    assert said(seed=4) != first
    assert said() != said()
    assert talk(models["plain"], "Hi.\n", temperature=0, max_tokens=8) == talk(
        models["plain"], "Hi.\n", temperature=0, max_tokens=8
    )


def test_ctrl_c_without_a_terminal_is_an_error_of_ours(models, monkeypatch):
    class Interrupted(io.StringIO):
        def readline(self, *_: Any) -> str:
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError, match="stopped by Ctrl-C"):
        chat(str(models["plain"]), input=Interrupted(), output=Shown())


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 3.0}, "temperature is 3.0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_an_argument_that_cannot_work_is_one_line(models, options, message):
    with pytest.raises(UsageError, match=message):
        talk(models["plain"], "Hi.\n", **options)


def test_what_is_no_model_that_writes_is_one_line(models, tmp_path):
    (tmp_path / "empty").mkdir()
    broken = tiny_model(tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    for model, message in (
        (models["reward"], "is a reward model, which scores answers and writes none"),
        (tmp_path / "nowhere", "there is no folder"),
        (tmp_path / "empty", "is no model"),
        (broken, "broken cannot be loaded as a model that writes"),
    ):
        with pytest.raises(UsageError, match=message) as error:
            talk(model, "Hi.\n")
        assert "\n" not in str(error.value)


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_answers_from_a_pipe(models):
    command = [sys.executable, "-m", "gpt4_instruct", "chat", str(models["plain"]), "--seed", "1", "--max-tokens", "12"]
    done = subprocess.run(command, input="说出行星。\nSay hi.\n".encode(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("utf-8")  # fails on half a character
    assert text == talk(models["plain"], "说出行星。\nSay hi.\n", seed=1, max_tokens=12)
    assert text.count("\n") == 2 and BROKEN not in text


def test_the_command_says_what_is_wrong_in_one_line(models):
    done = Forked(main, ["chat", models["reward"]], input=b"Hi.\n").finish()
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "is a reward model" in done.stderr


class _Endless:
    """A slow model that never ends, or falls silent after some tokens: what the real command draws tokens with."""

    most = 10**9

    def __init__(self, batch: Any, device: str) -> None:
        self.ids = tiny_tokenizer()(" 龘木", add_special_tokens=False)["input_ids"]
        self.count = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        time.sleep(0.02 if self.count < self.most else 60)
        scores.fill_(-1e9)
        scores[0, self.ids[self.count % len(self.ids)]] = 0.0
        self.count += 1
        return scores


def _endless() -> None:
    chatting.Draw = _Endless
    main()


def _silent() -> None:
    _Endless.most = 6
    _endless()


class Terminal:
    """A program on a pseudo-terminal of its own."""

    def __init__(self, function: Callable[[], None], *arguments: object) -> None:
        self.master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "dumb"}
        self.process = Forked(function, arguments, terminal=os.ttyname(slave), env=environment)
        self._slave = slave  # open until the process has it, too
        self.seen = ""
        self._raw = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        os.close(self.master)
        os.close(self._slave)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, pattern: str, timeout_s: float = 30) -> str:
        """What is shown up to a pattern, from where the last one ended."""
        end = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.master], [], [], 0.2)
            if not ready:
                assert self.process.poll() is None, (
                    f"ended with {self.process.poll()} before {pattern!r}: {self.seen!r}"
                )
                assert time.monotonic() < end, f"{pattern!r} is not in {self.seen!r}"
                continue
            self._raw += os.read(self.master, 4096)
            text = self._raw.decode("utf-8", "ignore")
            self._raw = self._raw[len(text.encode()) :]
            self.seen += text
        before, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return before


def test_on_a_terminal_ctrl_c_stops_an_answer_and_ctrl_d_ends(models):
    with Terminal(_endless, "chat", models["plain"], "--max-tokens", "400") as terminal:
        assert "plain: /reset forgets" in terminal.until("> ", 60)
        for question in ("你好", "And again?"):
            terminal.type(f"{question}\n")
            terminal.until("龘木 龘木")  # it comes while the model still writes
            terminal.type("\x03")
            rest = terminal.until("> ")
            assert "龘木" * 60 not in rest.replace(" ", "") and "Traceback" not in rest
        time.sleep(0.5)  # a Ctrl-C between the prompt's writing and the wait for a key is only seen with the next key
        terminal.type("\x03")  # no answer to stop: it says what there is
        assert "Ctrl-D ends" in terminal.until("> ")
        terminal.type("/reset\n")
        terminal.until("> ")
        terminal.type("\x04")
        assert terminal.process.wait(30) == 0


def test_on_a_terminal_a_second_ctrl_c_ends_the_conversation(models, tmp_path):
    """Where an answer does not stop at its next token, because there is none for long."""
    with Terminal(_silent, "chat", models["plain"]) as terminal:
        terminal.until("> ", 60)
        terminal.type("Hi.\n")
        terminal.until("龘")
        time.sleep(0.3)
        terminal.type("\x03")
        time.sleep(0.3)
        assert terminal.process.poll() is None
        terminal.type("\x03")
        terminal.until("interrupted: the conversation was stopped by Ctrl-C")
        assert terminal.process.wait(30) not in (0, 1)
