"""Every HTML page: one file each, with nothing to load from elsewhere, drawn from saved results only."""

from __future__ import annotations

from typing import Any

__all__ = ["audit_page"]


def audit_page(summary: dict[str, Any]) -> str:
    """The page of an audit: counts, where in the file the findings stand, and examples.

    Args:
        summary: the content of its ``summary.json``.

    Returns:
        HTML, the same for the same summary; texts of rows are escaped.
    """
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
    return environment.get_template("audit.html").render(
        **summary, rows=sum(each["rows"] for each in summary["data"]), severities=("error", "warning", "info")
    )


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
