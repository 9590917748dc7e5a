"""What all figures share: colours for everybody, fonts that have the words, tips on what is pointed at, whole files.

A figure is drawn on a `matplotlib.figure.Figure`, never through pyplot, whose figures are one global list::

    with style(["写", "write"]):
        picture = Picture("pairs", "The commonest pairs", width=6, height=4)
        axes = picture.figure.subplots()
        picture.tip(axes.barh(0, 7)[0], "write, poem: 7")
        picture.save(folder)           # pairs.png and pairs.svg, which shows the tip where the mouse is
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from gpt4_instruct.errors import MissingExtraError
from gpt4_instruct.storage import replace_text, replacing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.font_manager import FontEntry

__all__ = ["PALETTE", "Picture", "fonts_for", "ink_on", "style", "tint"]

# Okabe and Ito, Color Universal Design (2008): told apart with any common kind of colour blindness. Yellow, which is
# faint on white, comes last; black is left for text.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")

_LATIN = "DejaVu Sans"  # comes with matplotlib
# Simplified Chinese first: a Japanese or Traditional font has the characters, too, some of them in another form.
_SIMPLIFIED = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "PingFang SC", "Microsoft YaHei"),
    *("Hiragino Sans GB", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "SimHei"),
)
_SVG = "{http://www.w3.org/2000/svg}"


class Picture:
    """One figure with its name, what it shows in words, and a tip for each thing in it that is pointed at.

    Attributes:
        name: the files' stem.
        alt: for those who cannot see it.
        figure: the `matplotlib.figure.Figure`, laid out so that labels do not overlap its parts.
        tips: by the id of the drawn thing.
    """

    def __init__(self, name: str, alt: str, *, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        self.name = name
        self.alt = alt
        self.figure = Figure(figsize=(width, height), layout="constrained")
        self.tips: dict[str, str] = {}

    def tip(self, artist: Artist, text: str) -> None:
        """Shows `text` where the mouse is over `artist`."""
        gid = f"{self.name}-{len(self.tips)}"
        artist.set_gid(gid)
        self.tips[gid] = text

    def svg(self) -> str:
        """The figure as an SVG element, its text as outlines, so that it looks the same where the font is missing."""
        written = io.StringIO()
        self.figure.savefig(written, format="svg", metadata={"Date": None, "Title": self.name, "Description": self.alt})
        ElementTree.register_namespace("", _SVG.strip("{}"))
        ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
        root = ElementTree.fromstring(written.getvalue())
        root.set("role", "img")
        root.set("aria-label", self.alt)
        for group in root.iter(f"{_SVG}g"):
            tip = self.tips.get(group.get("id", ""))
            if tip is not None:
                title = ElementTree.Element(f"{_SVG}title")
                title.text = tip
                group.insert(0, title)
        return ElementTree.tostring(root, encoding="unicode")

    def save(self, folder: Path) -> list[Path]:
        """Writes ``NAME.png`` (200 dots an inch) and ``NAME.svg`` to a folder; returns both paths.

        Raises:
            OutputError: they cannot be written.
        """
        png, svg = folder / f"{self.name}.png", folder / f"{self.name}.svg"
        with replacing(png) as path:
            self.figure.savefig(path, format="png", dpi=200, metadata={"Description": self.alt})
        replace_text(svg, self.svg() + "\n")
        return [png, svg]


@contextmanager
def style(texts: Iterable[str]) -> Iterator[None]:
    """The look of all figures, with fonts that have what `texts` are written in.

    Raises:
        MissingExtraError: matplotlib is not installed, or no font here has the texts' Chinese characters.
    """
    try:
        import matplotlib
        from cycler import cycler
    except ImportError:
        raise MissingExtraError("drawing figures", "matplotlib", "stats") from None

    settings: Any = {
        "font.family": fonts_for(texts),
        "font.size": 9,
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.titlelocation": "left",
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "gpt4_instruct",  # the same picture is the same file
        "text.parse_math": False,  # a dollar sign is one
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A character that no font has, such as a rare emoji, is drawn as a box; for Chinese, see `fonts_for`.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def fonts_for(texts: Iterable[str]) -> list[str]:
    """The families that matplotlib should look through for these texts, in this order.

    Raises:
        MissingExtraError: no font that is installed, nor the one in the extra ``stats``, has the Chinese characters.
    """
    from matplotlib import font_manager

    characters = {ord(character) for text in texts for character in text if character.isprintable()}
    families = [_LATIN]
    missing = characters - _covered(font_manager.findfont(_LATIN))
    if not missing:
        return families
    entries = {entry.name: entry for entry in font_manager.fontManager.ttflist if entry.weight == 400}
    for family in _SIMPLIFIED:
        if family in entries and missing & _covered(entries[family].fname):
            families.append(family)
            missing -= _covered(entries[family].fname)
    if any(_is_han(code) for code in missing):
        other = _packaged() or _any_other(entries.values(), missing)
        if other is not None:
            families.append(other)
        elif families == [_LATIN]:  # else only a rare character or two is missing
            raise MissingExtraError("drawing Chinese text", "a font that has it (pylopdf-fonts-zh-cn)", "stats")
    return families


def ink_on(colour: str) -> str:
    """Black or white, whichever is easier to read on a colour (the contrast of WCAG 2.2, section 1.4.3).

    >>> ink_on("#0072B2"), ink_on("#F0E442")
    ('white', 'black')
    """
    from matplotlib.colors import to_rgb

    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def tint(colour: str, share: float) -> str:
    """A colour mixed with white, of which it keeps a `share`.

    >>> tint("#000000", 0.5)
    '#808080'
    """
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (1 - share * (1 - part) for part in to_rgb(colour))
    return str(to_hex((red, green, blue)))


def _covered(path: Any) -> set[int]:
    """The code points that a font has."""
    from matplotlib.font_manager import get_font

    return set(get_font(path).get_charmap())


def _is_han(code: int) -> bool:
    return 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF


def _packaged() -> str | None:
    """Noto Sans SC from the extra ``stats``, made known to matplotlib."""
    try:
        from pylopdf_fonts_zh_cn import sans_path
    except ImportError:
        return None
    from matplotlib import font_manager

    path = sans_path()
    font_manager.fontManager.addfont(path)
    return str(font_manager.get_font(path).family_name)


def _any_other(entries: Iterable[FontEntry], missing: set[int]) -> str | None:
    """The font that has most of the Chinese characters, if it has half of them, such as a Japanese one."""
    wanted = {code for code in missing if _is_han(code)}
    likely = (entry for entry in entries if any(part in entry.name for part in ("CJK", "Han", "Hei", "Song")))
    found = {entry.name: len(wanted & _covered(entry.fname)) for entry in likely}
    best = max(found, key=lambda name: found[name], default=None)
    return best if best is not None and found[best] >= len(wanted) / 2 else None
