"""Prints one row as a model reads it: its tokens, which of them are learnt, and what of it is lost.

    row 3 of pairs.jsonl, alpaca template
    Below│ is│ an│ instruction│ ... │ Response│:⟦木⟧₃⟦星⟧₃⟦。⟧⟦</s>⟧

What is learnt stands in brackets, also where there are no colours. A character that several tokens make up is shown
whole, with their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gpt4_instruct.asking import PLAIN
from gpt4_instruct.errors import SourceError, UsageError
from gpt4_instruct.records import Reject, Sample, Scored
from gpt4_instruct.sources.rows import open_rows
from gpt4_instruct.training.loading import find_base, load_tokenizer, require
from gpt4_instruct.training.tokens import Encoder, Tokens

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["Piece", "pieces", "preview"]

_WHOLE = 1_000_000_000  # tokens: nothing is cut off
_MOST_TOKENS = 16  # of characters that share tokens; more are something that is no text
_BROKEN = "\ufffd"  # where bytes are no character yet
_SMALL = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def preview(
    data: Any,
    tokenizer_or_model: str,
    *,
    max_length: int = 512,
    template: str = "alpaca",
    row: int = 0,
    ids: bool = False,
    out: Console | None = None,
) -> None:
    """Prints a row as supervised tuning learns it, or, where it has several scored answers, as a reward model does.

    Args:
        data: as `open_rows` takes it.
        tokenizer_or_model: ``"smollm2"``, a folder with a tokenizer, or a Hub id ``ORG/NAME[@REVISION]``.
        max_length: most tokens of a text.
        template: ``"alpaca"``, or ``"chat"`` for the tokenizer's own chat template.
        row: which one, from 0, as an audit counts.
        ids: also prints each token's id.
        out: where to; by default the terminal.

    Raises:
        MissingExtraError: the extra ``train`` is not installed.
        UsageError: there is no such row, tokenizer or template, or they cannot work together.
        SourceError: the data or this row of it cannot be read.
    """
    require()
    from rich.console import Console

    out = Console(highlight=False) if out is None else out
    name, samples = _read(data, row)
    encoder = Encoder(_tokenizer(tokenizer_or_model), max_length, template)
    for number, sample in enumerate(samples):
        part = f", answer {number + 1} of {len(samples)}" if len(samples) > 1 else ""
        out.print(_plain(f"row {row:,} of {name}{part}, {template} template", "bold"))
        if sample.scored:
            _show_comparison(sample, encoder, ids, out)
        else:
            _show_sample(sample, encoder, ids, out)


def _read(data: Any, row: int) -> tuple[str, list[Sample]]:
    if row < 0:
        raise UsageError(f"row is {row}, but rows count from 0")
    rows = open_rows(data)
    read = -1
    for read, _, found in islice(rows, row + 1):
        if read < row:
            continue
        if isinstance(found, Reject):
            raise SourceError(f"row {row} of {rows.name} cannot be used: {found.detail or found.reason}")
        return rows.name, found
    raise UsageError(f"there is no row {row} in {rows.name}: it has {read + 1}, from 0 on")


def _tokenizer(name: str) -> Any:
    """A tokenizer alone, for which no weights need be had."""
    name = name.removeprefix("local:")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return load_tokenizer(folder)
    if not folder.exists() and "@" not in name and name.count("/") == 1:
        return load_tokenizer(Path(name))  # transformers takes it as a Hub id
    return load_tokenizer(find_base(name).folder)  # "smollm2", or a certain revision; or it says what is wrong


# --- tokens as text -------------------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """Tokens that make up text only together: most pieces are one token.

    Attributes:
        text: what they read, as a tokenizer decodes them in their place.
        ids: theirs.
    """

    text: str
    ids: tuple[int, ...]


def pieces(ids: Sequence[int], tokenizer: Any) -> list[Piece]:
    """Token ids as readable pieces; all ids are in one, in their order.

    >>> class Bytes:
    ...     def decode(self, ids, **options):
    ...         return bytes(ids).decode("utf-8", "replace")
    >>> [piece.text for piece in pieces([*"木!".encode()], Bytes())]
    ['木', '!']
    """
    found: list[Piece] = []
    before: Sequence[int] = ()  # many tokenizers drop the space of a text's first token
    start = 0
    while start < len(ids):
        texts = _growing(ids[start : start + _MOST_TOKENS], before, tokenizer)
        whole = next((size for size, text in enumerate(texts, start=1) if _BROKEN not in text), None)
        if whole is None:  # no character, or one that is itself the sign for that, of up to four bytes
            whole = max(size for size, text in enumerate(texts[:4], start=1) if text == texts[0])
        group, text = tuple(ids[start : start + whole]), texts[whole - 1]
        found.append(Piece(text, group))
        start += whole
        before = () if _BROKEN in text else group
    return found


def _growing(ids: Sequence[int], before: Sequence[int], tokenizer: Any) -> list[str]:
    """What the first token reads behind `before`, then the first two, and so on until it is whole characters."""
    lead = _decode(before, tokenizer) if before else ""
    texts: list[str] = []
    for size in range(1, len(ids) + 1):
        text = _decode((*before, *ids[:size]), tokenizer)
        texts.append(text[len(lead) :] if text.startswith(lead) else _decode(ids[:size], tokenizer))
        if _BROKEN not in texts[-1]:
            break
    return texts


def _decode(ids: Sequence[int], tokenizer: Any) -> str:
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _tokens(found: Sequence[Piece], *, learnt: bool, ids: bool) -> Text:
    """Pieces behind one another: those that are learnt in brackets, others with a line between them."""
    from rich.text import Text

    shown = Text(overflow="fold")
    style = "bold green" if learnt else "dim"
    for piece in found:
        text = "".join(_visible(letter) for letter in piece.text)
        if ids:
            text += f" {' '.join(map(str, piece.ids))}"
        count = str(len(piece.ids)).translate(_SMALL) if len(piece.ids) > 1 else ""
        shown.append(f"⟦{text}⟧{count}" if learnt else f"{text}{count}│", style=style)
        if piece.text.endswith("\n"):
            shown.append("\n")
    return shown


def _visible(letter: str) -> str:
    """A letter that can be seen; a terminal would obey control characters."""
    if letter == "\n":
        return "↵"
    if letter.isprintable() or letter == _BROKEN:
        return letter
    return repr(letter)[1:-1]


def _plain(text: str, style: str = "") -> Text:
    """Text of ours around names of others', which hold no markup."""
    from rich.text import Text

    return Text("".join(_visible(letter) for letter in text), style=style, overflow="fold")


# --- what is printed ------------------------------------------------------------------------------------------------


class _Read(NamedTuple):
    """A text as the encoder gives it, and whole.

    Attributes:
        kept: what a model reads.
        whole: with nothing cut off.
        across: what the one token reads that lies across the end of the prompt, where there is one.
    """

    kept: Tokens
    whole: Tokens
    across: str | None


def _encode(encoder: Encoder, texts: Sequence[tuple[str, str]]) -> list[_Read]:
    long = Encoder(encoder.tokenizer, _WHOLE, encoder.template)
    return [
        _Read(kept, whole, _across(encoder, prompt + completion, whole))
        for kept, whole, (prompt, completion) in zip(encoder.encode(texts), long.encode(texts), texts, strict=True)
    ]


def _across(encoder: Encoder, text: str, whole: Tokens) -> str | None:
    """The token that prompt and answer would share if they were tokenized as one text; none where there is none."""
    if PLAIN in text:
        return None  # the letters of a special token, which transformers reads otherwise than we do
    alpaca = encoder.template == "alpaca"
    once = encoder.tokenizer(text, add_special_tokens=alpaca, split_special_tokens=alpaca)["input_ids"]
    for place, (one, other) in enumerate(zip(once, whole.ids, strict=False)):
        if one != other:
            return _decode(once[place : place + 1], encoder.tokenizer) if place < len(whole.ids) - 1 else None
    return None


def _show_sample(sample: Sample, encoder: Encoder, ids: bool, out: Console) -> None:
    ((kept, whole, across),) = _encode(encoder, [encoder.render(sample.instruction, sample.input, sample.output)])
    learnt = len(kept.ids) - kept.prompt
    empty = not sample.output.strip()
    dropped = learnt <= 0 or empty
    tokenizer = encoder.tokenizer
    shown = _tokens(pieces(kept.ids[: kept.prompt], tokenizer), learnt=False, ids=ids)
    if not dropped:
        shown.append(_tokens(pieces(kept.ids[kept.prompt :], tokenizer), learnt=True, ids=ids))
    out.print(shown)
    room = f"no: its prompt alone has {kept.prompt:,} tokens, and max_length is {encoder.max_length:,}"
    why = "no: it has no answer" if empty else room
    out.print(
        _counts(
            [
                ("learnt from", why if dropped else "yes"),
                ("tokens", f"{len(kept.ids):,}"),
                ("of the prompt", f"{min(kept.prompt, len(kept.ids)):,}"),
                ("supervised", f"{0 if dropped else learnt:,}"),
                ("cut off", _cut(kept, whole, encoder)),
                ("prompt and answer", _boundary([across], encoder)),
            ]
        )
    )


def _show_comparison(sample: Sample, encoder: Encoder, ids: bool, out: Console) -> None:
    if encoder.template != "alpaca":
        raise UsageError("this row has several scored answers, which a reward model reads in the alpaca template")
    answers = sample.scored
    read = _encode(encoder, [encoder.render(sample.instruction, sample.input, each.response) for each in answers])
    tokenizer = encoder.tokenizer
    first = read[0].kept
    out.print(_tokens(pieces(first.ids[: first.prompt], tokenizer), learnt=False, ids=ids))
    for number, (answer, (kept, whole, _)) in enumerate(zip(answers, read, strict=True), start=1):
        source = f", {answer.source}" if answer.source else ""
        out.print(_plain(f"answer {number}: {_score(answer)}{source}", "bold"))
        out.print(_tokens(pieces(kept.ids[kept.prompt :], tokenizer), learnt=True, ids=ids))
        out.print(_plain(f"{len(kept.ids):,} tokens with the prompt; cut off: {_cut(kept, whole, encoder)}"))
    told = list(_relations(answers, [each.kept for each in read]))
    pairs = sum(pair for pair, _ in told)
    out.print(
        _counts(
            [
                ("learnt from", "yes" if pairs else "no: no answer is better than another"),
                ("pairs", f"{pairs:,}"),
                *(("" if number else "of which", text) for number, (_, text) in enumerate(told)),
                ("prompt and answer", _boundary([each.across for each in read], encoder)),
            ]
        )
    )


def _relations(answers: Sequence[Scored], read: Sequence[Tokens]) -> Iterator[tuple[bool, str]]:
    """Of any two answers, whether they are a pair, and what they are; the rules are those of `pairs`."""
    for (one, first), (two, second) in combinations(enumerate(zip(answers, read, strict=True), start=1), 2):
        names = f"answers {one} and {two}"
        score, other = first[0].score, second[0].score
        if score is None or other is None:
            yield False, f"{names}: no pair, for one has no score"
        elif any(len(tokens.ids) <= tokens.prompt for _, tokens in (first, second)):
            yield False, f"{names}: no pair, for nothing is left of one"
        elif score == other:
            yield False, f"{names}: a tie at {score:g}"
        elif first[1].ids == second[1].ids:
            yield False, f"{names}: no pair, for they read the same"
        else:
            better, worse = (one, two) if score > other else (two, one)
            highest, lowest = max(score, other), min(score, other)
            yield True, f"answer {better} ({highest:g}) is better than answer {worse} ({lowest:g})"


def _score(answer: Scored) -> str:
    return "no score" if answer.score is None else f"score {answer.score:g}"


def _cut(kept: Tokens, whole: Tokens, encoder: Encoder) -> str:
    if not kept.cut:
        return "nothing"
    return f"{len(whole.ids) - len(kept.ids):,} tokens beyond {encoder.max_length:,}, the end of text among them"


def _boundary(across: Sequence[str | None], encoder: Encoder) -> str:
    shared = next((each for each in across if each is not None), None)
    if shared is None:
        return "no token lies across"
    return f"tokenized apart, for {shared!r} would be one token across the end of the prompt"


def _counts(rows: Sequence[tuple[str, str]]) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, show_header=False, padding=(0, 1, 0, 0))
    for name, value in rows:
        table.add_row(_plain(name), _plain(value))
    return table
