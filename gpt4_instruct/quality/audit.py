"""Runs checks over rows and says what they found, row by row and in numbers.

A finding::

    {"row": 17, "check": "refusal", "severity": "error", "reason": "declines: I cannot draw", "file": "rows.json"}

``row`` counts from 0, as in ``dataset[17]``; it is null where a finding is of the whole file.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from gpt4_instruct.errors import MissingExtraError, SourceError, UsageError
from gpt4_instruct.progress import progress
from gpt4_instruct.quality.base import SEVERITIES, Sample, Severity, Subject
from gpt4_instruct.quality.texts import excerpt
from gpt4_instruct.records import Reject
from gpt4_instruct.registry import find, names
from gpt4_instruct.sources.rows import RowReader, Rows

__all__ = [
    "Audited",
    "Finding",
    "Look",
    "Target",
    "choose",
    "conclude",
    "describe_checks",
    "examine",
    "find_in",
    "judged",
    "keep",
    "prepare",
    "targets",
]

PARTS = 60  # of a file, in which findings are counted, to show where in it they stand
_LONGEST_REASON = 300  # characters
_EXAMPLES = 4  # rows that are shown of each check
_LOOKED_AT = 50_000  # characters of a text: of a longer one its first and last half, so that no row takes minutes
_SHOWN = 400  # characters of a text of an example
# An answer of a comparison may be bad on purpose: what would be wrong in training data is one step less so there.
_LOWERED: dict[Severity, Severity] = {"error": "warning", "warning": "info", "info": "info"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found in a row.

    Attributes:
        row: its number, from 0; none where the finding is of the whole.
        check: the check's name, or a reject's reason for a row that could not be read.
        severity: ``"error"``, ``"warning"`` or ``"info"``.
        reason: what is wrong, in one line.
        file: the data's name.
    """

    row: int | None
    check: str
    severity: Severity
    reason: str
    file: str


@dataclass
class Audited:
    """What an audit found in one file or dataset.

    Attributes:
        name: of the data.
        rows: how many there are.
        findings: in the order of the rows; those of the whole come last.
        checks: the names of the checks that were run.
        not_run: those that could not be, and why.
        failed: of those that went wrong themselves, in how many rows, and the first of them in words.
        languages: samples by language.
        examples: for each check, a few rows with a finding: ``row``, ``reason``, and the texts, shortened.
        seconds: how long it took.
        any_scored: whether a row has scored answers.
    """

    name: str
    rows: int = 0
    findings: list[Finding] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)
    failed: dict[str, tuple[int, str]] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seconds: float = 0.0
    any_scored: bool = False

    def rows_with(self, *severities: Severity) -> set[int]:
        """The numbers of the rows that have a finding of one of these severities; of any, where none is named."""
        wanted = severities or SEVERITIES
        return {each.row for each in self.findings if each.row is not None and each.severity in wanted}

    def add(self, other: Audited) -> None:
        """Adds what was found in the rows behind these."""
        self.rows += other.rows
        self.findings += other.findings
        self.languages += other.languages
        self.any_scored = self.any_scored or other.any_scored
        for name, (count, first) in other.failed.items():
            before, earlier = self.failed.get(name, (0, first))
            self.failed[name] = (before + count, earlier)
        for name, examples in other.examples.items():
            shown = self.examples.setdefault(name, [])
            shown += examples[: _EXAMPLES - len(shown)]

    def fail(self, check: str, row: int, why: str) -> None:
        """Puts down that a check went wrong in a row."""
        count, first = self.failed.get(check, (0, _line(f"row {row}: {why}")))
        self.failed[check] = (count + 1, first)

    def summary(self) -> dict[str, Any]:
        """The counts, as plain data: of each check that was run, its severity, findings, rows, share and examples."""
        severity: dict[str, Severity] = {name: _severity(find("quality", name)) for name in self.checks}
        worst: dict[str, Severity] = {}
        found: Counter[str] = Counter()
        rows: dict[str, set[int]] = {}
        parts: dict[str, list[int]] = {}
        for each in self.findings:
            found[each.check] += 1
            if SEVERITIES.index(each.severity) < SEVERITIES.index(worst.get(each.check, "info")):
                worst[each.check] = each.severity
            worst.setdefault(each.check, each.severity)
            if each.row is not None:
                rows.setdefault(each.check, set()).add(each.row)
                where = parts.setdefault(each.check, [0] * PARTS)
                where[each.row * PARTS // max(1, self.rows)] += 1
        severity |= worst  # on comparisons it is less than the check's own
        return {
            "name": self.name,
            "rows": self.rows,
            "rows_with_findings": len(self.rows_with()),
            "rows_by_severity": {name: len(self.rows_with(name)) for name in SEVERITIES},
            "languages": dict(self.languages.most_common()),
            "seconds": round(self.seconds, 2),
            "not_run": self.not_run,
            "failed": {name: {"rows": count, "first": first} for name, (count, first) in self.failed.items()},
            "checks": {
                name: {
                    "severity": severity[name],
                    "what": _what(name),
                    "findings": found[name],
                    "rows": len(rows.get(name, ())),
                    "share": round(len(rows.get(name, ())) / max(1, self.rows), 6),
                    "where": parts.get(name, []),
                    "examples": self.examples.get(name, []),
                }
                for name in sorted(severity, key=lambda name: (SEVERITIES.index(severity[name]), -found[name], name))
            },
        }


def _severity(found: Any) -> Severity:
    severity: Severity = getattr(found, "severity", "warning")
    return severity


def _subject(found: Any) -> Subject:
    subject: Subject = getattr(found, "subject", "answer")
    return subject


def _what(name: str) -> str:
    """What a check looks for: the first line of its file; nothing for a reject's reason."""
    module = sys.modules.get(getattr(find("quality", name), "__module__", "")) if name in names("quality") else None
    return ((module and module.__doc__) or "").strip().split("\n")[0]


@dataclass
class Look:
    """A check, ready to run.

    Attributes:
        name: the check's.
        severity: of its findings.
        subject: what it looks at.
        call: says what is wrong with a sample, or none.
        over_rows: the object that remembers rows, of a check that does; its `finish` is still to come.
    """

    name: str
    severity: Severity
    subject: Subject
    call: Callable[[Sample, int], str | None]
    over_rows: Any = None


@dataclass(frozen=True, slots=True)
class Target:
    """What a check sees of a row: a sample, or one answer of its comparison.

    Attributes:
        sample: the sample, as the check sees it.
        source: of the answer; empty where the sample is seen as a whole.
    """

    sample: Sample
    source: str = ""


def choose(checks: Sequence[str] | None = None, *, skip: Sequence[str] = (), optional: Sequence[str] = ()) -> list[str]:
    """The names of the checks to run.

    Args:
        checks: these and no others; by default all but the optional ones.
        skip: not these.
        optional: these optional ones, too.

    Raises:
        UnknownNameError: there is no such check.
        UsageError: none is left.
    """
    checks, skip = (list(each) if not isinstance(each, str) else [each] for each in (checks or [], skip))
    for name in (*checks, *skip, *optional):
        find("quality", name)
    every = [
        name for name in names("quality") if name in optional or not getattr(find("quality", name), "optional", False)
    ]
    chosen = [name for name in dict.fromkeys(checks or every) if name not in skip]
    if not chosen:
        raise UsageError(f"no check is left to run. Known: {', '.join(names('quality'))}")
    return chosen


def describe_checks() -> list[tuple[str, Severity, Subject, str, str]]:
    """Every check: its name, severity, what it looks at, the first line of its file, and an example that it finds."""
    found = []
    for name in names("quality"):
        each = find("quality", name)
        what = _what(name) + (" Only where it is asked for." if getattr(each, "optional", False) else "")
        found.append((name, _severity(each), _subject(each), what, _example(each)))
    return sorted(found, key=lambda row: (SEVERITIES.index(row[1]), row[0]))


def _example(found: Any) -> str:
    """The last of the rows of a check's example, in one line; the others only lead up to it."""
    examples: Sequence[Sample] = getattr(found, "example", ())
    if not examples:
        return ""
    shown = examples[-1]
    answers = [f"[{each.score}] {each.response!r}" for each in shown.scored] or [repr(shown.output)]
    parts = [repr(shown.instruction), *([repr(shown.input)] if shown.input else []), "→ " + ", ".join(answers)]
    return excerpt(" ".join(parts), 150)


def prepare(
    checks: Sequence[str], required: Sequence[str] = (), not_run: dict[str, str] | None = None
) -> Iterator[Look]:
    """The checks of these names, ready to run.

    Args:
        checks: their names.
        required: of these, what cannot run is an error.
        not_run: is told the others, with why.

    Raises:
        MissingExtraError: a required check needs a library that is not installed.
    """
    for name in checks:
        try:
            yield _prepare(name)
        except MissingExtraError as error:
            if name in required or not_run is None:
                raise
            not_run[name] = str(error)


def _prepare(name: str) -> Look:
    found = find("quality", name)
    severity, subject = _severity(found), _subject(found)
    if isinstance(found, type):
        looks = found()
        return Look(name, severity, subject, looks, looks)
    for example in getattr(found, "example", ())[:1]:
        found(example)  # what it needs and is not installed shows here, before anything is read
    return Look(name, severity, subject, lambda sample, row: found(sample))


def examine(rows: Rows, checks: Sequence[str], *, required: Sequence[str] = ()) -> Audited:
    """Runs checks over rows, once through.

    Args:
        rows: what `sources.rows.open_rows` opened.
        checks: their names.
        required: of these, what cannot run is an error; of the others, it is said in `Audited.not_run`.

    Raises:
        MissingExtraError: a required check needs a library that is not installed.
        SourceError: the rows cannot be read, or there are none.
    """
    started = time.monotonic()
    audited = Audited(rows.name)
    looks = list(prepare(checks, required, audited.not_run))
    with progress(rows.count, f"audit {rows.name}", "row") as bar:
        for number, raw, found in rows:
            bar.update()
            find_in(audited, looks, number, raw, found)
    conclude(audited, looks, rows, checks, required)
    audited.seconds = time.monotonic() - started
    return audited


def find_in(
    audited: Audited,
    looks: Sequence[Look],
    number: int,
    raw: Any,
    found: Sequence[Sample] | Reject,
    apart: Callable[[Look, Sample, int, int], None] | None = None,
) -> None:
    """Puts down what the checks find in a row.

    Args:
        audited: what was found so far; it grows.
        looks: the checks.
        number: of the row.
        raw: the row as it was read.
        found: its samples, or why there are none.
        apart: is given each sample, and its place in the row, for the checks over rows, which do not look at it then.
    """
    audited.rows += 1
    if isinstance(found, Reject):
        finding = Finding(number, found.reason, "error", _line(found.detail), audited.name)
        _keep(audited, finding, {"text": _shorten(raw)} if raw not in (None, "") else {})
        return
    for place, sample in enumerate(found):
        audited.languages[sample.language] += 1
        audited.any_scored = audited.any_scored or bool(sample.scored)
        bounded = _bounded(sample)
        for look in looks:
            try:
                if look.over_rows is not None and apart is not None:
                    apart(look, sample, number, place)
                else:
                    _look(audited, look, sample if look.over_rows is not None else bounded, number)
            except Exception as error:  # one row that a check cannot take must not end the audit of the others
                audited.fail(look.name, number, fault(error))


def conclude(
    audited: Audited,
    looks: Sequence[Look],
    rows: Rows,
    checks: Sequence[str],
    required: Sequence[str],
    places: dict[tuple[str, int], tuple[int, int | None]] | None = None,
) -> None:
    """Adds what all rows together show, and puts the findings into the order of the rows.

    Args:
        audited: what was found in the rows.
        looks: the checks that were run.
        rows: the data, of which examples are read once more.
        checks: the names of all checks, in their order.
        required: those that were asked for.
        places: of a check and a row whose example has no texts yet, in which sample it was found and which answer.

    Raises:
        SourceError: there were no rows.
    """
    if not audited.rows:
        raise SourceError(f"{audited.name} holds no rows: there is nothing to audit")
    audited.checks = [each.name for each in looks]
    if not audited.any_scored:
        audited.checks = [each.name for each in looks if each.subject != "comparison"]
        for each in looks:
            if each.subject == "comparison" and each.name in required:
                audited.not_run[each.name] = f"{each.name} looks at scored answers, and no row has any"
    for look in looks:
        for where, reason in look.over_rows.finish() if look.over_rows is not None else ():
            keep(audited, where, look.name, look.severity, reason)
    order = {name: place for place, name in enumerate(checks)}
    last = audited.rows
    audited.findings.sort(key=lambda each: (last if each.row is None else each.row, order.get(each.check, -1)))
    _show_late_examples(audited, rows, places or {})


def _bounded(sample: Sample) -> Sample:
    """The sample as the checks of single rows see it; those that remember rows see, and hash, all of it."""
    texts = (sample.instruction, sample.input, sample.output, sample.label or "")
    if max(map(len, texts)) <= _LOOKED_AT:
        return sample
    instruction, input, output, label = (_cut(text) for text in texts)
    return replace(sample, instruction=instruction, input=input, output=output, label=label or sample.label)


def _cut(text: str) -> str:
    if len(text) <= _LOOKED_AT:
        return text
    half = _LOOKED_AT // 2
    # A code block that opens in one half and closes in what is left out would look as if it never closed.
    gap = "\n```\n" if text.count("```", half, len(text) - half) % 2 else "\n"
    return text[:half] + gap + text[-half:]


def _look(audited: Audited, look: Look, sample: Sample, row: int) -> None:
    seen = targets(look, sample)
    reasons = [look.call(each.sample, row) for each in seen]
    for reason, severity, number in judged(look, [each.source for each in seen], reasons):
        shown = sample if number is None else seen[number].sample
        _keep(audited, Finding(row, look.name, severity, _line(reason), audited.name), _texts(shown))


def targets(look: Look, sample: Sample) -> list[Target]:
    """What a check sees of a sample: it, or each answer of a comparison; nothing where it only looks at comparisons."""
    if look.subject == "comparison" and not sample.scored:
        return []
    if look.subject != "answer" or not sample.scored:
        return [Target(sample)]
    return [Target(replace(sample, output=_cut(each.response), scored=()), each.source) for each in sample.scored]


def judged(
    look: Look, sources: Sequence[str], reasons: Sequence[str | None]
) -> Iterator[tuple[str, Severity, int | None]]:
    """The findings of a check in a sample, from what it says of each target.

    Args:
        look: the check.
        sources: of the targets.
        reasons: what is wrong with each.

    Yields:
        the reason, the severity, and the number of the answer; none where it is the task's fault and the same for all,
        which is told once, or where the sample is no comparison.
    """
    if look.subject != "answer" or list(sources) == [""]:
        yield from ((reason, look.severity, None) for reason in reasons if reason is not None)
        return
    severity = _LOWERED[look.severity]
    if len(reasons) > 1 and reasons[0] is not None and len(set(reasons)) == 1:
        yield reasons[0], severity, None
        return
    for number, (source, reason) in enumerate(zip(sources, reasons, strict=True)):
        if reason is not None:
            yield f"{source}: {reason}", severity, number


def fault(error: Exception) -> str:
    """What went wrong in a check itself, in words.

    >>> fault(ValueError("no such letter"))
    'ValueError: no such letter'
    """
    return f"{type(error).__name__}: {error}"


def _line(reason: str) -> str:
    """A reason in one line that a terminal can show: what rows hold may be long, or move a cursor."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in excerpt(reason, _LONGEST_REASON))


def keep(audited: Audited, row: int | None, check: str, severity: Severity, reason: str) -> None:
    """Puts down a finding whose texts are not at hand."""
    _keep(audited, Finding(row, check, severity, _line(reason), audited.name), {})


def _keep(audited: Audited, finding: Finding, texts: dict[str, str]) -> None:
    audited.findings.append(finding)
    shown = audited.examples.setdefault(finding.check, [])
    if len(shown) < _EXAMPLES and (not shown or shown[-1]["row"] != finding.row):
        shown.append({"row": finding.row, "reason": finding.reason, **texts})


def _texts(sample: Sample) -> dict[str, str]:
    texts = {"instruction": sample.instruction, "input": sample.input, "output": sample.output, "label": sample.label}
    if sample.scored:
        texts["answers"] = "\n".join(
            f"[{'-' if each.score is None else f'{each.score:g}'}] {each.source}: {excerpt(each.response, 120)}"
            for each in sample.scored
        )
    return {name: _shorten(text) for name, text in texts.items() if text}


def _shorten(value: Any) -> str:
    """The text's beginning and end, since a truncated one is told by its end."""
    text: str = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) <= _SHOWN:
        return text
    return f"{text[: _SHOWN * 2 // 3]} […] {text[-_SHOWN // 3 :]}"


def _show_late_examples(audited: Audited, rows: Rows, places: dict[tuple[str, int], tuple[int, int | None]]) -> None:
    """Adds the texts of the examples whose rows were only named after all rows were seen."""
    wanted: dict[int, list[tuple[dict[str, Any], int, int | None]]] = {}
    for name, examples in audited.examples.items():
        for example in examples:
            row = example["row"]
            if len(example) == 2 and row is not None:
                wanted.setdefault(row, []).append((example, *places.get((name, row), (0, None))))
    for row, found in _of_rows(rows, wanted):
        if isinstance(found, Reject):
            continue
        for example, place, answer in wanted[row]:
            sample = found[place]
            if answer is not None:
                sample = replace(sample, output=_cut(sample.scored[answer].response), scored=())
            example.update(_texts(sample))


def _of_rows(rows: Rows, numbers: Iterable[int]) -> Iterator[tuple[int, list[Sample] | Reject]]:
    """The rows of these numbers: those between them are passed over unread."""
    wanted = set(numbers)
    if not wanted:
        return
    reader: RowReader = rows.reader()
    for number, (line, raw) in enumerate(islice(rows.raw(), max(wanted) + 1)):
        if number in wanted:
            yield number, reader.read(line, raw)
