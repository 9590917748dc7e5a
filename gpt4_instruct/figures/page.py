"""Pictures and tables as one HTML page that needs no other file and no network.

The pictures are in it as SVG, the very ones that are saved beside it, with a tip for whatever is under the mouse; a
table of some length has a field to search it. That makes a page of some hundred kilobytes; plotly's, with its script
inside, has five megabytes, draws everything once more in its own way, and would be one more library to install.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpt4_instruct.figures.drawing import Picture
from gpt4_instruct.storage import replace_text

__all__ = ["write_page"]

Table = tuple[str, list[str], list[list[str]]]


def write_page(path: Path, *, title: str, pictures: Sequence[Picture], tables: Sequence[Table]) -> None:
    """Writes a page of pictures and tables; call it inside `style`, since it draws.

    Args:
        path: the page's.
        title: its heading.
        pictures: in their order.
        tables: each a caption, the heads and the rows; the first stands before the pictures, the others behind.

    Raises:
        OutputError: the page cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("gpt4_instruct.figures"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    drawn = [(picture, Markup(picture.svg())) for picture in pictures]
    page = environment.get_template("figures.html").render(title=title, pictures=drawn, tables=tables)
    replace_text(path, page)
