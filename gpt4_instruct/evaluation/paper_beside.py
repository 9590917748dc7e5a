"""A run's numbers beside the paper's: which model of the paper is meant, and how far apart the two are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["GROUPS", "VOTED", "compare", "counterpart", "family"]

GROUPS = {
    ("vicuna80", "vs_gpt4"): "80 questions, against GPT-4",
    ("vicuna80", "vs_chatgpt"): "80 questions, against ChatGPT",
    ("rank_groups", "vs_gpt4"): "ranked answers, against GPT-4",
    ("rank_groups", "vs_chatgpt"): "ranked answers, against ChatGPT",
    ("chinese", "translated_answers_vs_gpt4_generated"): "Chinese: translated answers, against GPT-4's generated",
    ("chinese", "translated_answers_vs_gpt4_translated"): "Chinese: translated answers, against GPT-4's translated",
    ("chinese", "chinese_questions_vs_gpt4_translated"): "Chinese: answers to Chinese, against GPT-4's translated",
}
VOTED = ("Alpaca", "GPT-4")  # whom people compared LLaMA-GPT4 with
_ROWS = 52_002  # answers that the paper's verb-noun pairs are of
# How the names of models begin, in small letters and digits, and what the paper calls the like of them.
_KNOWN = {
    "alpacagpt4": "LLaMA-GPT4",
    "llamagpt4": "LLaMA-GPT4",
    "llamagpt4cn": "LLaMA-GPT4-CN",
    "llama": "LLaMA",
    "alpaca": "Alpaca",
    "vicuna": "Vicuna",
    "bard": "Bard",
    "chatgpt": "ChatGPT",
    "gpt35": "ChatGPT",
    "textdavinci003": "text-davinci-003",
    "optiml": "icm-1.3b",
    "icm13b": "icm-1.3b",
}
_GPT4 = re.compile(r"gpt[-_ ]?4([-_ ]?(turbo|32k|\d{4}).*)?")  # gpt-4o, gpt-4.1 and the like are others
_OURS = "LLaMA-GPT4"


def counterpart(name: str, among: Sequence[str]) -> str | None:
    """The model of the paper that a model is the like of, by how its name begins; else the paper's own, LLaMA-GPT4.

    Args:
        name: a model or a teacher, ``"local:PATH"`` and the like, too.
        among: the paper's models that can be meant.

    >>> models = ["LLaMA-13B", "Alpaca-13B", "LLaMA-GPT4-7B", "LLaMA-GPT4-7B-R1", "GPT-4"]
    >>> [counterpart(name, models) for name in ("openai:gpt-4-0613", "out/alpaca", "my-model")]
    ['GPT-4', 'Alpaca-13B', 'LLaMA-GPT4-7B']
    """
    if name in among:
        return name
    known = family(name) or _OURS
    for wanted in (known, _OURS):
        for other in among:
            if family(other) == wanted:
                return other
    return None


def family(name: str) -> str | None:
    """What the paper calls models whose names begin like this; none where it has none.

    >>> family("LLaMA-GPT4-7B"), family("models/vicuna-7b"), family("gpt-3.5-turbo"), family("my-model")
    ('LLaMA-GPT4', 'Vicuna', 'ChatGPT', None)
    >>> family("gpt-4-0613"), family("openai:gpt-4-turbo"), family("gpt-4o-mini"), family("gpt-4.1")
    ('GPT-4', 'GPT-4', None, None)
    """
    last = re.split(r"[/\\:]", name.rstrip("/\\"))[-1].lower()
    if _GPT4.fullmatch(re.sub(r" \(\d+\)$", "", last)):  # the number behind a second one of that name
        return "GPT-4"
    plain = re.sub(r"[^a-z0-9]", "", last)
    begins = [each for each in _KNOWN if plain.startswith(each)]
    return _KNOWN[max(begins, key=len)] if begins else None


def compare(numbers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each number of a run beside the paper's: what it is, both values with their names, and the difference.

    Args:
        numbers: with ``mine`` and what is derived of both.

    Yields:
        ``{"what", "unit", "paper_name", "paper", "name", "value", "low", "high", "difference", "doubt", "of"}``:
        ``low`` and ``high`` bound the run's value and are none where no interval is known; ``doubt`` says what is wrong
        with the paper's value, and ``of`` what is to be known of how many things they are of; or are none.
    """
    mine, derived = numbers["mine"], numbers["derived"]
    doubts = {tuple(each["where"]): each["why"] for each in numbers["doubts"]}
    intervals = mine.get("intervals", {})
    for where, what in GROUPS.items():
        section, group = where
        own = mine["derived"].get(section, {}).get(group, {})
        for name, value in own.items():
            other = counterpart(name, list(derived[section][group]))
            bounds = intervals.get(section, {}).get(group, {}).get(name)
            paper = derived[section][group].get(other)
            doubt = doubts.get((*where, other or ""))
            of = mine.get("incomplete", {}).get(section, {}).get(group, {}).get(name)
            if section == "rank_groups":  # its names are ranks, of one model
                yield _beside(f"{what}, group {name}", "%", (f"{_OURS}-7B", paper), ("ours", value), bounds, doubt, of)
            else:
                yield _beside(what, "%", (other, paper), (name, value), bounds, doubt, of)
    for pair, criteria in mine["derived"].get("human_hhh", {}).items():
        baseline = family(pair.rpartition("_vs_")[2])
        if baseline not in VOTED:
            continue
        other_pair = f"{_OURS}_vs_{baseline}"
        voted = f"{mine['human_hhh'][pair]['n']:,} votes; the paper: {numbers['human_hhh'][other_pair]['n']:,}"
        for criterion, shares in criteria.items():
            paper_shares = derived["human_hhh"][other_pair].get(criterion)
            bounds = intervals.get("human_hhh", {}).get(pair, {}).get(criterion) or [None] * 3
            for place, of in enumerate(("ours better", "baseline better", "tie")):
                paper = paper_shares and paper_shares[place]
                yield _beside(
                    f"{criterion}, {of}", "%", (other_pair, paper), (pair, shares[place]), bounds[place], None, voted
                )
    yield from _compare_rouge(numbers["unnatural_rougeL"], mine.get("unnatural_rougeL", {}), intervals)
    for name, facts in mine["derived"].get("judge_scores", {}).items():
        other = counterpart(name, list(derived["judge_scores"])) or "gpt4"
        paper = derived["judge_scores"][other]["mean"]
        of = f"{facts['n']:,} scores; the paper: {derived['judge_scores'][other]['n']:,}"
        yield _beside("mean score of the judge", "points", (other, paper), (name, facts["mean"]), None, None, of)
    for name, count in mine.get("verb_noun", {}).get("unique_pairs", {}).items():
        paper = numbers["verb_noun"]["unique_pairs"]["GPT-4"]
        answers = mine["verb_noun"].get("answers", {}).get(name)
        of = f"{'?' if answers is None else f'{answers:,}'} answers; the paper: {_ROWS:,}"
        yield _beside("different verb-noun pairs", "pairs", ("GPT-4", paper), (name, count), None, None, of)


def _compare_rouge(paper: Mapping[str, Any], mine: Mapping[str, Any], intervals: Mapping[str, Any]) -> Iterator[Any]:
    models = [name for name in paper if name not in ("buckets", "n", "note")]
    for name in mine:
        if name in ("buckets", "n", "note"):
            continue
        other = counterpart(name, models)
        bounds = intervals.get("unnatural_rougeL", {}).get(name) or [None] * len(mine["buckets"])
        for place, bucket in enumerate(mine["buckets"]):
            at = paper["buckets"].index(bucket) if bucket in paper["buckets"] and other else None
            theirs = None if at is None else paper[str(other)][at]
            what = f"ROUGE-L, {'all references' if bucket == 'ALL' else f'references of {bucket} words'}"
            yield _beside(what, "", (other, theirs), (name, mine[name][place]), bounds[place], None)


def _beside(
    what: str,
    unit: str,
    paper: tuple[str | None, float | None],
    mine: tuple[str, float | None],
    bounds: Sequence[float] | None,
    doubt: str | None,
    of: str | None = None,
) -> dict[str, Any]:
    low, high = bounds or (None, None)
    difference = None if paper[1] is None or mine[1] is None else mine[1] - paper[1]
    return {
        "what": what,
        "unit": unit,
        "paper_name": paper[0],
        "paper": paper[1],
        "name": mine[0],
        "value": mine[1],
        "low": low,
        "high": high,
        "difference": difference,
        "doubt": doubt,
        "of": of,
    }
