"""A conversation with a model in the terminal, shown token by token, in English and Chinese::

    > Name the largest planet.
    Jupiter.
    > 它有多大？
    ...

Where the questions do not come from a terminal but from a file or another program, each line is one, and each answer
is one line: ``echo 'Say hi.' | gpt4-instruct chat DIR``.
"""

from __future__ import annotations

import copy
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, TextIO

from gpt4_instruct.asking import find_writer, prompt_ids
from gpt4_instruct.errors import InterruptedRunError, MissingExtraError, UsageError
from gpt4_instruct.records import Message, Request, Sampling, well_formed
from gpt4_instruct.teachers.decoding import Draw
from gpt4_instruct.teachers.local import _load
from gpt4_instruct.training.loading import use_template

__all__ = ["Conversation", "TextStream", "chat"]

_HELP = "/reset forgets what was said, /exit or Ctrl-D ends, Ctrl-C stops an answer"
_BROKEN = "\ufffd"  # what bytes are decoded to that are no character, or not yet one
_LONGEST_WINDOW = 64  # tokens decoded together, where a model writes nothing but broken bytes


def chat(
    model: str,
    *,
    temperature: float = 0.7,
    top_p: float = 0.9,
    max_tokens: int = 512,
    system: str | None = None,
    seed: int | None = None,
    input: TextIO | None = None,
    output: TextIO | None = None,
) -> None:
    """Talks with a model until ``/exit``, Ctrl-D or the end of the input.

    What was said before goes with each question, as far as the model's context has room for it. A model without a chat
    template is asked in the Alpaca form. A vLLM server has chats of its own: ``vllm chat``.

    Args:
        model: a folder or GGUF file, ``"smollm2"``, or a Hub id; ``"local:"`` may stand before it.
        temperature: 0 is greedy.
        top_p: nucleus mass, over 0 and up to 1.
        max_tokens: most tokens in an answer.
        system: a message that stands before the conversation; none by default.
        seed: the same questions get the same answers; by default they get others each time.
        input: where questions come from, by default the standard input. Commands are lines of their own: ``/reset``
            and ``/exit``.
        output: where answers go, by default the standard output.

    Raises:
        UsageError: there is no such model, it does not write answers, or an argument cannot work.
        MissingExtraError: torch or transformers is not installed.
        InterruptedRunError: Ctrl-C was pressed, and the input is no terminal.
    """
    source, shown = input or sys.stdin, output or sys.stdout
    conversation = Conversation.open(model, Sampling(temperature, top_p, max_tokens, seed), system)
    talking = source.isatty()
    if talking:
        shown.write(f"{conversation.name}: {_HELP}\n")
    try:
        for question in _questions(source, shown, talking=talking):
            if question == "/exit":
                return
            if question == "/reset":
                conversation.messages.clear()
                continue
            _tell(conversation, question, shown, talking=talking)
    except KeyboardInterrupt:
        raise InterruptedRunError("the conversation was stopped by Ctrl-C") from None
    except BrokenPipeError:  # whoever read the answers has gone
        if shown is sys.stdout:  # which is flushed once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), shown.fileno())


def _questions(source: TextIO, shown: TextIO, *, talking: bool) -> Iterator[str]:
    """Each line that is not empty; in a terminal, after a prompt."""
    edited = talking and source is sys.stdin and shown is sys.stdout
    if edited and find_spec("readline"):
        import readline  # noqa: F401  # lines can be edited, and called back
    while True:
        try:
            if edited:
                line = _input("> ")
            else:
                if talking:
                    shown.write("> ")
                shown.flush()
                line = source.readline()
                if not line:
                    return
        except EOFError:
            shown.write("\n")
            return
        except KeyboardInterrupt:
            if not talking:
                raise
            shown.write(f"\n({_HELP})\n")
            continue
        if question := well_formed(line).strip():
            yield question


_input = input  # the function, which `chat` has an argument of the same name as


def _tell(conversation: Conversation, question: str, shown: TextIO, *, talking: bool) -> None:
    """Shows the answer to a question as it comes."""

    def show(text: str) -> None:
        # A file or a program gets one line an answer.
        shown.write(text if talking else " ".join(text.splitlines()) + (" " if text.endswith("\n") else ""))
        shown.flush()

    with _stoppable(talking) as stopped:
        try:
            dropped = conversation.dropped
            conversation.ask(question, show, stopped.is_set)
        except UsageError as error:
            if not talking:
                raise
            show(f"({error})")
        else:
            if talking and conversation.dropped > dropped:
                show("\n(the beginning of the conversation no longer fits, and is forgotten)")
    shown.write("\n")
    shown.flush()


@contextmanager
def _stoppable(talking: bool) -> Iterator[threading.Event]:
    """In a terminal, the first Ctrl-C ends an answer at its next token, and a second one the conversation."""
    stopped = threading.Event()
    if not talking or threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(number: int, frame: Any) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(eq=False, slots=True)
class Conversation:
    """A model with what was said to it and by it.

    Attributes:
        name: the model's public name.
        sampling: how it draws its answers.
        messages: questions and answers in turn, without the system message.
        system: what stands before them, or none.
        dropped: how many messages were forgotten because they no longer fitted.
    """

    name: str
    sampling: Sampling
    system: str | None
    _identity: str
    _loaded: Any
    _tokenizer: Any
    messages: list[Message] = field(default_factory=list)
    dropped: int = 0

    @classmethod
    def open(cls, model: str, sampling: Sampling, system: str | None = None) -> Conversation:
        """Loads a model. Raises what `chat` raises."""
        if not 0 <= sampling.temperature <= 2:
            raise UsageError(f"temperature is {sampling.temperature}, but must be from 0 to 2")
        if not 0 < sampling.top_p <= 1:
            raise UsageError(f"top_p is {sampling.top_p}, but must be over 0 and up to 1")
        if sampling.max_tokens < 1:
            raise UsageError(f"max_tokens is {sampling.max_tokens}, but must be 1 or more")
        for library in ("torch", "transformers"):
            if find_spec(library) is None:
                raise MissingExtraError("chat", library, "local")
        path, name, identity = find_writer(model.removeprefix("local:"))
        try:
            loaded = _load(identity, path)
        except Exception as error:  # every library below raises its own
            line = str(error).strip().split("\n")[0][:300]
            raise UsageError(
                f"{name} cannot be loaded as a model that writes: {line or type(error).__name__}"
            ) from error
        tokenizer = loaded.tokenizer
        if not tokenizer.chat_template:
            tokenizer = copy.deepcopy(tokenizer)  # the model may be loaded for others, too
            use_template(tokenizer, "alpaca")
        return cls(name, sampling, system, identity, loaded, tokenizer)

    def ask(self, question: str, show: Callable[[str], None], stopped: Callable[[], bool] = lambda: False) -> str:
        """The answer to a question; both are added to the messages.

        Args:
            question: what is said next.
            show: called with each piece of the answer as soon as it is known, mostly a token. Their sum is the answer,
                but for white space at its end.
            stopped: ends the answer once it is true; what there is of it by then is kept.

        Raises:
            UsageError: the question alone is longer than the model's context, or its template fails.
        """
        asked = [*self.messages, Message("user", question)]
        prompt = self._fit(asked)
        # Each answer draws from random numbers of its own, which its request seeds.
        seed = secrets.randbits(32) if self.sampling.seed is None else self.sampling.seed
        said = (Message("system", self.system), *asked) if self.system else tuple(asked)
        request = Request("local", self._identity, said, {**self.sampling.parameters(), "seed": seed})
        pieces: list[str] = []

        def give(text: str) -> None:
            text = text if pieces else text.lstrip()
            if text:
                pieces.append(text)
                show(text)

        self._generate(request, prompt, give, stopped)
        answer = "".join(pieces).rstrip()
        self.dropped += len(self.messages) + 1 - len(asked)
        self.messages = [*asked, Message("assistant", answer)] if answer else asked[:-1]
        return answer

    def _fit(self, asked: list[Message]) -> list[int]:
        """The token ids of what is asked, from which the oldest messages are taken until there is room to answer."""
        context = self._loaded.context
        wanted = min(self.sampling.max_tokens, context // 2)
        while True:
            prompt = self._render(asked)
            if len(prompt) + wanted <= context:
                return prompt
            if len(asked) == 1:
                break
            del asked[:2]
        if len(prompt) >= context:
            raise UsageError(f"this question has {len(prompt)} tokens, more than the model's context of {context}")
        return prompt

    def _render(self, asked: list[Message]) -> list[int]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*system, *({"role": role, "content": content} for role, content in asked)]
        try:
            return prompt_ids(self._tokenizer, messages) or [self._loaded.pad]
        except Exception as error:  # Jinja's, or whatever a template raises
            line = str(error).strip().split("\n")[0][:300]
            raise UsageError(f"the chat template of {self.name} fails: {line or type(error).__name__}") from error

    def _generate(
        self, request: Request, prompt: list[int], give: Callable[[str], None], stopped: Callable[[], bool]
    ) -> None:
        import torch
        from transformers import GenerationConfig
        from transformers.generation import LogitsProcessorList, StoppingCriteriaList

        loaded = self._loaded
        stream = TextStream(self._tokenizer)

        def watch(input_ids: Any, scores: Any) -> Any:
            """Called after each token."""
            token = int(input_ids[0, -1])
            if token not in loaded.ends:
                give(stream.add(token))
            return torch.full((1,), stopped(), dtype=torch.bool, device=input_ids.device)

        most = min(self.sampling.max_tokens, loaded.context - len(prompt))
        with loaded.lock:
            loaded.model.generate(
                input_ids=torch.tensor([prompt], device=loaded.device),
                attention_mask=torch.ones((1, len(prompt)), dtype=torch.long, device=loaded.device),
                generation_config=GenerationConfig(
                    max_new_tokens=most, do_sample=False, eos_token_id=loaded.ends or None, pad_token_id=loaded.pad
                ),
                logits_processor=LogitsProcessorList([Draw([(request, None)], loaded.device)]),
                stopping_criteria=StoppingCriteriaList([watch]),
            )


class TextStream:
    """Tokens as text, as soon as it is certain: a character that several tokens spell comes when it is whole.

    Each token is decoded together with those just before it, because what it says depends on them: whether a space
    stands before a word, and which character its bytes end. Bytes that are no character at all are left out.

    Args:
        tokenizer: any of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._begin = 0  # of the newest tokens in the window; those before it were whole characters
        self._given = 0  # characters of the window's text that came already

    def add(self, token: int) -> str:
        """The text that a token makes certain; empty where more is needed."""
        self._window.append(token)
        text = self._decode()
        whole = text.rstrip(_BROKEN)
        piece = whole[self._given :]
        self._given = max(self._given, len(whole))
        if text == whole or len(self._window) > _LONGEST_WINDOW:
            self._window = self._window[self._begin :]
            self._begin = len(self._window)
            self._given = len(self._decode().rstrip(_BROKEN))
        return piece.replace(_BROKEN, "")

    def _decode(self) -> str:
        text: str = self._tokenizer.decode(self._window, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text
