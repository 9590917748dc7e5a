"""Every HTML page: one file each, with nothing to load from elsewhere, drawn from saved results only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["audit_page", "run_page"]


def audit_page(summary: dict[str, Any]) -> str:
    """The page of an audit: counts, where in the file the findings stand, and examples.

    Args:
        summary: the content of its ``summary.json``.

    Returns:
        HTML, the same for the same summary; texts of rows are escaped.
    """
    return (
        _environment()
        .get_template("audit.html")
        .render(**summary, rows=sum(each["rows"] for each in summary["data"]), severities=("error", "warning", "info"))
    )


def run_page(title: str, chapters: Mapping[str, Sequence[Any]], made: str) -> str:
    """The page of a run: a chapter each for data, training, evaluation and cost.

    Args:
        title: what the run is called.
        chapters: of each, its sections, as `publishing.run_sections` makes them.
        made: by which version of the package, and when.

    Returns:
        HTML, the same for the same arguments. All but the pictures, which are our own, is escaped.
    """
    return _environment().get_template("run.html").render(title=title, chapters=chapters, made=made)


def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpt4_instruct.publishing"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["percent"] = _percent
    environment.filters["visible"] = _visible
    environment.filters["cell"] = _cell
    environment.tests["numeric"] = lambda text: re.match(r"[-+$]?\d", text) is not None and len(text) < 40
    return environment


def _cell(text: str) -> Any:
    """A cell as HTML: what is between backticks is code.

    >>> str(_cell("2 x `H100 <PCIe>`"))
    '2 x <code>H100 &lt;PCIe&gt;</code>'
    """
    from markupsafe import Markup

    parts = _visible(text).split("`")
    if len(parts) % 2 == 0:  # one of them is no code's
        return _visible(text)
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(part) if place % 2 else part for place, part in enumerate(parts))


# C0 but tab and line feed, and DEL, as the pictures that Unicode has of them (chapter 24, U+2400 to U+2421).
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}


def _visible(text: str) -> str:
    """A text with control characters as pictures: HTML has no place for them.

    >>> _visible("bell\x07")
    'bell␇'
    """
    return text.translate(_PICTURES)


def _percent(share: float) -> str:
    """A share with as many places as tell something.

    >>> [_percent(share) for share in (0, 0.00012, 0.0123, 0.5)]
    ['0 %', '0.012 %', '1.2 %', '50 %']
    """
    per_cent = 100 * share
    return f"{per_cent:.0f} %" if per_cent >= 10 or not per_cent else f"{per_cent:.2g} %"
