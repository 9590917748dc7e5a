"""What a judge's verdicts say, as plain data: scores with their intervals, outcomes, and the judge's own biases.

Everything is computed from the lines of ``judgements.jsonl`` (see `judging`). A question without scores is counted by
its reason, and enters nothing else.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gpt4_instruct.metrics.intervals import bootstrap_mean, share_interval
from gpt4_instruct.metrics.relative_score import relative_score
from gpt4_instruct.metrics.win_rate import win_rate

__all__ = ["facts", "low_baselines", "suspicious_pair"]

_Line = Mapping[str, Any]

# Sums over the same questions by the same judge. In the paper's runs over 80 questions, a baseline's sum is from 8 %
# below to 14 % above its median over its opponents; in the one pair that cannot be right, it is 22 % below.
_SAME = 0.9


def facts(lines: Sequence[_Line], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> dict[str, Any]:
    """All that is known of a comparison.

    Args:
        lines: of ``judgements.jsonl``.
        level: of all intervals.
        resamples: draws of each bootstrap over questions.
        seed: of the draws.

    Returns:
        ``questions``; ``judged``, those with scores; ``failures``, the others by reason; ``unreadable_replies``, all
        replies that could not be read, by reason, also where a further attempt could. Against a baseline:
        ``relative_score`` (``percent`` from ``low`` to ``high``, and both sums), ``outcomes`` (win, tie, loss and win
        rate, in percent, as `metrics.win_rate` gives them), ``categories``, ``position`` and ``length_bias``; without
        one, ``mean_score``. Where no question is judged, these are none.
    """
    judged = [line for line in lines if line["failure"] is None]
    replies = [reply for line in lines for order in line["orders"] for reply in order["replies"]]
    found: dict[str, Any] = {
        "questions": len(lines),
        "judged": len(judged),
        "failures": _counts(line["failure"] for line in lines),
        "replies": len(replies),
        "unreadable_replies": _counts(reply["failure"] for reply in replies),
    }
    how = {"level": level, "resamples": resamples, "seed": seed}
    if any(line["baseline_words"] is None for line in lines):
        mean = _mean([line["score"] for line in judged], how)
        return {
            **found,
            "mean_score": mean,
            "categories": _categories(lines, lambda each: {"mean_score": _mean([line["score"] for line in each], how)}),
        }
    return {
        **found,
        **_compared(judged, how, lengths=True),
        "categories": _categories(lines, lambda each: _compared(each, how)),
        "position": _position(judged, how),
        "length_bias": _length_bias(judged),
    }


def _counts(reasons: Any) -> dict[str, int]:
    return dict(Counter(reason for reason in reasons if reason is not None).most_common())


def _categories(lines: Sequence[_Line], of: Any) -> dict[str, Any]:
    """The same facts for each category; none where the questions have none."""
    names = list(dict.fromkeys(line["category"] for line in lines if line["category"]))
    found = {}
    for name in names:
        mine = [line for line in lines if line["category"] == name]
        judged = [line for line in mine if line["failure"] is None]
        found[name] = {"questions": len(mine), "judged": len(judged), **of(judged)}
    return found


def _mean(values: Sequence[float], how: Mapping[str, Any]) -> dict[str, Any] | None:
    """A mean with its interval; none of no values."""
    return {"mean": statistics.fmean(values), **asdict(bootstrap_mean(values, **how))} if values else None


def _compared(judged: Sequence[_Line], how: Mapping[str, Any], *, lengths: bool = False) -> dict[str, Any]:
    """The relative score, and outcomes as `metrics.win_rate` has them; with lengths, controlled for these, too."""
    if not judged:
        return {"relative_score": None, "outcomes": None}
    scores, baseline = [line["score"] for line in judged], [line["baseline_score"] for line in judged]
    relative = relative_score(scores, baseline, **how)
    words: dict[str, Any] = {
        "lengths": [line["words"] for line in judged],
        "baseline_lengths": [line["baseline_words"] for line in judged],
    }
    rates = win_rate(scores, baseline, **(words if lengths else {}), level=how["level"])
    return {
        "relative_score": {
            "model_sum": relative["sum"],
            "baseline_sum": relative["baseline_sum"],
            "percent": relative["relative_score"],
            **relative["interval"],
        },
        "outcomes": {name: value for name, value in rates.items() if name not in {"n", "missing"}},
    }


# --- the judge's own biases -----------------------------------------------------------------------------------------


def _position(judged: Sequence[_Line], how: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the place of an answer does; none unless every question was judged in both orders.

    ``first_advantage``: by how many points the answer that is shown first is better off, in the mean over both orders
    of a question, in which what the answers are worth cancels out. ``flipped``: questions whose winner is another one
    in the other order; ``changed``: those, and the ones that are a tie in one order only.
    """
    both = [line["orders"] for line in judged if len(line["orders"][0]["shown"]) == 2 and len(line["orders"]) == 2]
    if not both:
        return None
    advantages = []
    flipped = changed = 0
    for orders in both:
        gaps = [order["scores"]["answer"] - order["scores"]["baseline"] for order in orders]
        advantages.append((gaps[0] - gaps[1]) / 2)  # in the second order the baseline comes first
        flipped += gaps[0] * gaps[1] < 0
        changed += _sign(gaps[0]) != _sign(gaps[1])
    return {
        "questions": len(both),
        "first_advantage": _mean(advantages, how),
        "flipped": _percent(flipped, len(both), how["level"]),
        "changed": _percent(changed, len(both), how["level"]),
    }


def _percent(count: int, total: int, level: float) -> dict[str, Any]:
    """A count with its percentage of the total, as in `metrics.win_rate`."""
    share = share_interval(count, total, level)
    interval = {"low": 100 * share.low, "high": 100 * share.high, "level": level}
    return {"n": count, "percent": 100 * count / total, "interval": interval}


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _length_bias(judged: Sequence[_Line]) -> dict[str, Any]:
    """How the difference of two scores goes with that of the answers' lengths: Pearson's correlation, from -1 to 1.

    It is none where either is the same for all questions. A longer answer may also be a better one: the number is a
    hint, and `win_rate`'s length control is what takes it out.
    """
    scores = [line["score"] - line["baseline_score"] for line in judged]
    lengths = [line["words"] - line["baseline_words"] for line in judged]
    varies = len(set(scores)) > 1 and len(set(lengths)) > 1
    return {
        "correlation": statistics.correlation(scores, lengths) if varies else None,
        "mean_words": statistics.fmean(line["words"] for line in judged) if judged else None,
        "baseline_mean_words": statistics.fmean(line["baseline_words"] for line in judged) if judged else None,
    }


# --- sums that cannot be of the same questions ----------------------------------------------------------------------


def suspicious_pair(model: float, baseline: float, reverse_model: float, reverse_baseline: float) -> str | None:
    """Why the sums of one run are of fewer questions than those of the run with the sides swapped; or none.

    A judge that sees the same two answers may favour now one side and now the other, but gives about as many points
    to both together. Where the sums of *both* models are lower by more than a tenth than in the reverse run, questions
    are missing. That is so for the paper's GPT-4 against ChatGPT, 613 to 521: against GPT-4, ChatGPT has 652 to 714.

    Args:
        model: sum of A's scores in the run of A against B.
        baseline: sum of B's scores in it.
        reverse_model: sum of B's scores in the run of B against A.
        reverse_baseline: sum of A's scores in it.

    Returns:
        a line that says so, of the run with the lower sums; none where the runs agree, or a sum is 0.

    >>> print(suspicious_pair(613, 521, 652, 714))
    613 to 521 is 117.7 %, but 714 to 652 or 109.5 % in the reverse run: both sums are lower by more than a tenth, as \
if 80 % to 86 % of the questions were scored
    >>> suspicious_pair(652, 714, 613, 521) == suspicious_pair(613, 521, 652, 714)
    True
    >>> suspicious_pair(631, 722.5, 725, 640) is None
    True
    """
    if min(model, baseline, reverse_model, reverse_baseline) <= 0:
        return None
    if model > reverse_baseline and baseline > reverse_model:
        model, baseline, reverse_model, reverse_baseline = reverse_model, reverse_baseline, model, baseline
    shares = sorted((model / reverse_baseline, baseline / reverse_model))
    if shares[1] >= _SAME:
        return None
    there, here = 100 * reverse_baseline / reverse_model, 100 * model / baseline
    return (
        f"{model:g} to {baseline:g} is {here:.1f} %, but {reverse_baseline:g} to {reverse_model:g} or {there:.1f} % in "
        f"the reverse run: both sums are lower by more than a tenth, as if {100 * shares[0]:.0f} % to "
        f"{100 * shares[1]:.0f} % of the questions were scored"
    )


def low_baselines(sums: Mapping[str, float]) -> dict[str, str]:
    """Runs against one baseline in which that scored far less than in the others: questions are missing there.

    The rule needs no reverse run: a baseline answers the same questions every time, so that its sum may not fall by
    more than a tenth below its median over the runs. It may rise: beside a weak opponent, or itself.

    Args:
        sums: the sum of the baseline's scores in each run, by the name of the model it was compared with.

    Returns:
        a line for each run that is too low.

    >>> low_baselines({"Alpaca": 704.5, "Vicuna": 652.5, "Bard": 660, "ChatGPT": 759, "GPT-4": 521})
    {'GPT-4': 'the baseline scores 521 beside GPT-4, 660 in the median run: about 79 % of the questions were scored'}
    """
    if not sums:
        return {}
    middle = statistics.median(sums.values())
    return {
        name: (
            f"the baseline scores {value:g} beside {name}, {middle:g} in the median run: about "
            f"{100 * value / middle:.0f} % of the questions were scored"
        )
        for name, value in sums.items()
        if value < _SAME * middle
    }
