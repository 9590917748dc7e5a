"""Rows as token ids with their mask: what a model reads, and which of it is learnt.

    prompt          "Below is an instruction ... ### Response:"     labels -100
    completion      "木星。" + end of text                           labels = the ids

    {"input_ids": [22755, 338, ...], "labels": [-100, ..., 30479, 1], "length": 58}

Prompt and completion are tokenized as one text, once. Where a token would lie across the boundary (``:`` and a newline
are one token to many tokenizers), the two are tokenized apart, for the prompt must have the ids that it has when a
model is asked.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt4_instruct.asking import PLAIN, literal, literal_text, plain
from gpt4_instruct.errors import SourceError, UnknownNameError, UsageError
from gpt4_instruct.progress import quiet_datasets
from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.records import Reject
from gpt4_instruct.sources.shapes import samples

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

__all__ = ["IGNORED", "TEMPLATES", "Encoder", "Tokens", "encode"]

IGNORED = -100  # the label that torch's cross-entropy leaves out
TEMPLATES = ("alpaca", "chat")
_BATCH = 1_000  # rows


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text for a model: ``ids[:prompt]`` is what it is asked, ``ids[prompt:]`` what it is to say, and the end.

    Attributes:
        ids: token ids.
        prompt: how many of them are the prompt's.
        cut: whether the end is missing, because the text was longer than `max_length`.
    """

    ids: list[int]
    prompt: int
    cut: bool = False


class Encoder:
    """Turns (prompt, completion) pairs into `Tokens` with one tokenizer and one template.

    Args:
        tokenizer: any of transformers; one in Python ("slow") tells no offsets, so it tokenizes twice.
        max_length: most tokens of one text; what is beyond is cut off.
        template: ``"alpaca"``, or ``"chat"`` for the tokenizer's own chat template.

    Raises:
        UnknownNameError: there is no such template.
        UsageError: the tokenizer has no chat template, or no end-of-text token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int = 512, template: str = "alpaca") -> None:
        if template not in TEMPLATES:
            raise UnknownNameError("template", template, list(TEMPLATES))
        if template == "chat" and not tokenizer.chat_template:
            raise UsageError(f"{_name(tokenizer)} has no chat template: use the alpaca template")
        if tokenizer.eos_token_id is None:
            raise UsageError(
                f"{_name(tokenizer)} has no end-of-text token, so no model would learn to stop: set eos_token"
            )
        if max_length < 2:
            raise UsageError(f"max_length is {max_length}, but a prompt and an answer take 2 tokens or more")
        self.tokenizer, self.max_length, self.template = tokenizer, max_length, template
        self.end: int = tokenizer.eos_token_id
        # A chat template writes its own special tokens.
        self._special = template == "alpaca"
        # In a row "</s>" is three letters and two brackets; in a chat template it ends the text.
        self._split = template == "alpaca"
        self._fast = tokenizer.backend_tokenizer if tokenizer.is_fast else None

    def render(self, instruction: str, input: str, output: str) -> tuple[str, str]:
        """What a model is asked and what it is to say, as text. The end of text is not in it, unless a template has it.

        Where a chat's messages hold the letters of a special token, those are marked as `asking.plain` does.

        Raises:
            UsageError: the chat template cannot be rendered, or changes what comes before an answer.
        """
        if self.template == "alpaca":
            return render_alpaca(instruction, input), output
        question = f"{instruction}\n\n{input}" if input else instruction
        asked = [{"role": "user", "content": plain(self.tokenizer, question)}]
        return self._render_chat(asked, plain(self.tokenizer, output))

    def _render_chat(self, asked: list[dict[str, str]], output: str) -> tuple[str, str]:
        render = self.tokenizer.apply_chat_template
        try:
            prompt = render(asked, tokenize=False, add_generation_prompt=True)
            whole = render([*asked, {"role": "assistant", "content": output}], tokenize=False)
        except Exception as error:  # Jinja's, or whatever a template raises
            line = str(error).strip().split("\n")[0]
            raise UsageError(f"the chat template of {_name(self.tokenizer)} fails ({line}): use the alpaca template")
        if not whole.startswith(prompt):
            raise UsageError(
                f"the chat template of {_name(self.tokenizer)} writes an answered question in another way than an open "
                "one, so nothing tells where the answer begins: use the alpaca template"
            )
        return prompt, whole[len(prompt) :]

    def encode(self, texts: Sequence[tuple[str, str]]) -> list[Tokens]:
        """The tokens of (prompt, completion) pairs, each with the end of text behind it, cut to `max_length`."""
        found = self._encode([(prompt, completion) for prompt, completion in texts if PLAIN not in prompt + completion])
        marked = self._encode_marked([pair for pair in texts if PLAIN in pair[0] + pair[1]])
        both = {False: iter(found), True: iter(marked)}
        return [self._finish(*next(both[PLAIN in prompt + completion])) for prompt, completion in texts]

    def _encode(self, texts: list[tuple[str, str]]) -> list[tuple[list[int], int]]:
        """Ids, and how many of them are the prompt's."""
        if self._fast is None:
            return [self._apart(prompt, completion) for prompt, completion in texts]
        found = self._encode_fast([prompt + completion for prompt, completion in texts], self._special)
        done = []
        for (prompt, completion), encoded in zip(texts, found, strict=True):
            start = _start(encoded, len(prompt), bool(completion))
            done.append(self._apart(prompt, completion) if start is None else (encoded.ids, start))
        return done

    def _encode_marked(self, texts: list[tuple[str, str]]) -> list[tuple[list[int], int]]:
        """The same for a chat whose messages hold letters that look like special tokens."""
        if not texts or self.template == "alpaca":
            return self._encode(texts)
        encoder = copy.copy(self)
        encoder.tokenizer, ids = literal(self.tokenizer)
        encoder._fast, encoder._split = encoder.tokenizer.backend_tokenizer, True
        ready = [(literal_text(self.tokenizer, one), literal_text(self.tokenizer, other)) for one, other in texts]
        return [([ids.get(each, each) for each in found], start) for found, start in encoder._encode(ready)]

    def _encode_fast(self, texts: list[str], special: bool) -> list[Any]:
        assert self._fast is not None
        self._fast.no_truncation()
        self._fast.no_padding()
        before = self._fast.encode_special_tokens
        self._fast.encode_special_tokens = self._split
        try:
            return list(self._fast.encode_batch(texts, add_special_tokens=special))
        finally:
            self._fast.encode_special_tokens = before

    def _apart(self, prompt: str, completion: str) -> tuple[list[int], int]:
        """The ids of the prompt as when a model is asked, then those of the completion."""
        split = self._split
        first = self.tokenizer(prompt, add_special_tokens=self._special, split_special_tokens=split)["input_ids"]
        if self._special and first and first[-1] == self.end:
            first = first[:-1]  # this tokenizer ends every text by itself
        if self._fast is not None:
            # Alone, many tokenizers would put a space before it; so it is read behind something else.
            for lead in ("\n", "a"):
                (encoded,) = self._encode_fast([lead + completion], special=False)
                start = _start(encoded, len(lead), bool(completion))
                if start is not None:
                    return first + encoded.ids[start:], len(first)
        rest = self.tokenizer(completion, add_special_tokens=False, split_special_tokens=split)["input_ids"]
        return first + rest, len(first)

    def _finish(self, ids: list[int], start: int) -> Tokens:
        """Ends the text: where the completion holds the end already, what a template writes behind it is left out."""
        try:
            ids = ids[: ids.index(self.end, start) + 1]
        except ValueError:
            ids = [*ids, self.end]
        return Tokens(ids[: self.max_length], start, cut=len(ids) > self.max_length)


def _start(encoded: Any, boundary: int, more: bool) -> int | None:
    """The index of the first token behind character `boundary`; none where a token lies across it."""
    if not more:
        return None
    start = encoded.char_to_token(boundary)
    if start is None or encoded.token_to_chars(start)[0] != boundary:
        return None
    # A byte-level character may be several tokens, and so may the one before it; none of those is across.
    return (
        None
        if start and encoded.token_to_chars(start - 1) and encoded.token_to_chars(start - 1)[1] > boundary
        else start
    )


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return f"the tokenizer {tokenizer.name_or_path}" if tokenizer.name_or_path else "the tokenizer"


def encode(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int = 512,
    template: str = "alpaca",
    *,
    counts: Counter[str] | None = None,
) -> Dataset:
    """A dataset's rows as token ids and labels, in the same order.

    Args:
        dataset: of any shape in `sources.shapes` that has one answer a row: what `load` gives, or another's.
        tokenizer: of the model that is to be tuned.
        max_length: most tokens of a row; longer ones lose their end (512 in the paper's recipe).
        template: ``"alpaca"``, or ``"chat"`` for the tokenizer's own chat template.
        counts: is told ``rows``, ``truncated`` (their end is cut off), ``dropped_no_answer`` and ``dropped_too_long``
            (nothing but the prompt would be left), ``tokens`` and ``supervised_tokens`` of what is kept.

    Returns:
        columns ``input_ids`` [T] and ``labels`` [T] (int32; the prompt's are -100, the end of text is learnt) and
        ``length`` T. Rows with nothing to learn are left out.

    Raises:
        UsageError: the tokenizer or an argument cannot work; `UnknownNameError` for a template that is none.
        SourceError: a row cannot be read or has several answers, or no row is left.
    """
    from datasets import Features, List, Value

    encoder = Encoder(tokenizer, max_length, template)
    told: Counter[str] = Counter() if counts is None else counts

    def read(batch: Mapping[str, list[Any]], indices: list[int]) -> Any:
        names = list(batch)
        texts = []
        for index, values in zip(indices, zip(*batch.values(), strict=True), strict=True):
            found = samples(dict(zip(names, values, strict=True)), "", f"row {index}")
            if isinstance(found, Reject):
                raise SourceError(f"row {index} of the data cannot be read: {found.detail} ({found.reason})")
            for sample in found:
                if sample.scored:
                    raise SourceError(f"row {index} of the data has several answers: those train a reward model")
                told["rows"] += 1
                if sample.output.strip():
                    texts.append(encoder.render(sample.instruction, sample.input, sample.output))
                else:
                    told["dropped_no_answer"] += 1
        return _columns(encoder.encode(texts), told)

    features = Features({"input_ids": List(Value("int32")), "labels": List(Value("int32")), "length": Value("int32")})
    with quiet_datasets():
        encoded: Dataset = dataset.with_format(None).map(
            read,
            with_indices=True,
            batched=True,
            batch_size=_BATCH,
            remove_columns=dataset.column_names,
            features=features,
            load_from_cache_file=False,  # the counts come from reading
            desc="tokenizing",
        )
    if not len(encoded):
        why = ", ".join(f"{told[name]} {name}" for name in ("dropped_no_answer", "dropped_too_long") if told[name])
        raise SourceError(
            f"no row has anything to learn ({why or 'there are none'}): is max_length={max_length} too short?"
        )
    return encoded


def _columns(found: list[Tokens], told: Counter[str]) -> Any:
    """The columns of those that have something to learn, as an Arrow table."""
    import pyarrow as pa

    kept = [each for each in found if len(each.ids) > each.prompt]
    told["dropped_too_long"] += len(found) - len(kept)
    told["truncated"] += sum(each.cut for each in kept)
    lengths = np.array([len(each.ids) for each in kept], dtype=np.int32)
    flat = np.fromiter((token for each in kept for token in each.ids), dtype=np.int32, count=int(lengths.sum()))
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    prompts = np.array([each.prompt for each in kept], dtype=np.int32)
    within = np.arange(len(flat), dtype=np.int32) - np.repeat(ends[:-1], lengths)
    labels = np.where(within < np.repeat(prompts, lengths), IGNORED, flat).astype(np.int32)
    told["tokens"] += len(flat)
    told["supervised_tokens"] += int(lengths.sum() - prompts.sum())
    return pa.table(
        {
            "input_ids": pa.ListArray.from_arrays(pa.array(ends), pa.array(flat)),
            "labels": pa.ListArray.from_arrays(pa.array(ends), pa.array(labels)),
            "length": pa.array(lengths),
        }
    )
