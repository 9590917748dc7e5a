"""Renders the Markdown of cards by the templates of this room; names and texts from outside go through a filter.

{{ spec | code }}      a name as code
{{ reason | plain }}   words among other words, in which nothing is markup
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from gpt4_instruct.publishing.run_tables import code, number, plain

if TYPE_CHECKING:
    import jinja2

__all__ = ["render"]


def render(template: str, filters: Mapping[str, Callable[..., Any]] | None = None, /, **values: Any) -> str:
    """The text of a template, with no more than one empty line between its parts.

    Args:
        template: its file in ``templates``.
        filters: besides `code`, `number` and `plain`.
        values: by the names that it has for them; one that is missing is an error.

    Returns:
        Markdown, the same for the same values.
    """
    environment = _environment(tuple((filters or {}).items()))
    return re.sub(r"\n{3,}", "\n\n", environment.get_template(template).render(**values))


@cache
def _environment(filters: tuple[tuple[str, Callable[..., Any]], ...]) -> jinja2.Environment:
    """One for the same filters: it keeps its templates compiled, and that is most of what a card takes."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpt4_instruct.publishing"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML
    )
    environment.filters.update(code=code, number=number, plain=plain, **dict(filters))
    return environment
