"""A model's answers measured by their overlap with right ones, by how long these are: the paper's third way.

rouge("answers.jsonl", "rouge.json")

The references are those that the questions came with, or those of another file. See `metrics.rouge_by_length` for what
is found; ``rouge.json`` has that and whose answers they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gpt4_instruct
from gpt4_instruct.errors import OutputError, OutputExistsError, SourceError, UsageError
from gpt4_instruct.evaluation.answer_files import AnswerRow, check_apart, of_sample, read_answer_rows, read_references
from gpt4_instruct.metrics.rouge_by_length import BOUNDS, rouge_by_length
from gpt4_instruct.storage import write_json

__all__ = ["rouge"]


def rouge(
    answers: str | Path,
    out: str | Path | None = None,
    *,
    references: str | Path | None = None,
    sample: int = 0,
    bounds: Sequence[int] = BOUNDS,
    tokenizer: str = "auto",
    stemmer: bool = False,
    resamples: int = 1_000,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """ROUGE-1, ROUGE-2 and ROUGE-L of a file of answers against their references.

    Args:
        answers: a file of `answers.answer` or `ranking.rank`, of FastChat or of AlpacaEval.
        out: the ``.json`` file to write; by default none is.
        references: a file of right answers in the same shapes, joined by the question's id, else by its text, in place
            of the references that `answers` holds.
        sample: which of several answers to a question is measured, from 0.
        bounds, tokenizer, stemmer, resamples, seed: as `metrics.rouge_by_length.rouge_by_length`.
        overwrite: write the file anew if it is there.

    Returns:
        what `rouge_by_length` found, and beside it ``answers`` (``model`` and ``file``), ``references``, ``sample`` and
        ``questions``, of which those without an answer or a reference are counted in ``missing``. Of a question that
        comes twice the first answer counts, and the others are counted in ``duplicated``; ``empty`` counts the answers
        that came and are empty, each of which scores 0.

    Raises:
        UsageError: an option cannot work, or `out` is one of the files that are read.
        SourceError: a file cannot be read, or no question has both an answer and a reference.
        OutputError: the file cannot be written; `OutputExistsError` when it is there.
        MissingExtraError: a library that the tokenizer or the stemmer needs is not installed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     answers, right = Path(folder, "answers.json"), Path(folder, "right.json")
    ...     _ = answers.write_text('[{"instruction": "What is red?", "output": "a red rose"}]')
    ...     _ = right.write_text('[{"instruction": "What is red?", "output": "a rose"}]')
    ...     found = rouge(answers, references=right)
    >>> found["n"], round(found["rougeL"], 2)  # two words of two, and of three
    (1, 0.8)
    """
    if sample < 0:
        raise UsageError(f"sample is {sample}, but must be 0 or more")
    file = None if out is None else Path(out).expanduser()
    if file is not None and file.is_dir():
        raise OutputError(f"{file} is a folder: name a file, such as {file / 'rouge.json'}")
    if file is not None:
        check_apart(file, answers, references)
    if file is not None and file.exists() and not overwrite:
        raise OutputExistsError(f"{file} is there already: --overwrite writes it anew, --out names another")
    every = read_answer_rows(answers, of_sample(sample))
    distinct: dict[tuple[bool, str | None], AnswerRow] = {}
    for row in every:
        distinct.setdefault((row.id is None, row.question if row.id is None else row.id), row)
    rows = list(distinct.values())
    find = None if references is None else read_references(references)
    right = [find(row.id, row.question) if find else row.reference for row in rows]
    if not any(row.text is not None and each is not None for row, each in zip(rows, right, strict=True)):
        where = "no reference" if references is None else f"no question in common with {Path(references).name}"
        raise SourceError(
            f"{Path(answers).name} has {where} to measure answers by: name a file of right ones with --references"
        )
    found = {
        "package": gpt4_instruct.__version__,
        "answers": {"model": next((row.model for row in rows if row.model), ""), "file": Path(answers).name},
        "references": None if references is None else Path(references).name,
        "sample": sample,
        "questions": len(rows),
        "duplicated": len(every) - len(rows),
        "empty": sum(row.text is not None and not row.text.strip() for row in rows),
        **rouge_by_length(
            [row.text for row in rows],
            right,
            bounds=bounds,
            tokenizer=tokenizer,
            stemmer=stemmer,
            resamples=resamples,
            seed=seed,
        ),
    }
    if file is not None:
        write_json(file, found)
    return found
