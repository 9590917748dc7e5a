"""Figures drawn from saved statistics: whole, not blank, in colours that all can tell, with Chinese that is readable."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from itertools import combinations
from xml.etree import ElementTree

import pytest

from gpt4_instruct.errors import MissingExtraError, OutputError
from gpt4_instruct.figures.drawing import PALETTE, Picture, fonts_for, ink_on, style
from gpt4_instruct.figures.statistics import draw_statistics
from gpt4_instruct.sources.rows import open_rows
from gpt4_instruct.statistics.describe import describe

pytest.importorskip("matplotlib")
pytest.importorskip("spacy")
pytest.importorskip("jieba")

ENGLISH = [
    {"instruction": f"Task {number}", "input": "", "output": f"{start} the {noun} {number}. " + "It rained. " * number}
    for number, (start, noun) in enumerate(
        [("I wrote", "letter"), ("She sold", "car"), ("Mix", "flour"), ("We ate", "apple"), ("Write", "poem")] * 5
    )
]
CHINESE = [
    {"instruction": "说一句话。", "input": "", "output": output * (number + 1)}
    for number, output in enumerate(
        ["他写了一篇文章。", "我们使用新的电器。", "她提高了工作效率。", "老师批改了作业。"]
    )
]
COMPARED = [
    {
        "user_input": f"Task {number}",
        "responses_and_scores": [
            {"response": f"I wrote a letter in week {number}.", "source": "gpt-4 <b>&", "score": 9},
            {"response": f"I sold a car in week {number}.", "source": "$m_a$ll", "score": number % 11},
        ],
    }
    for number in range(12)
]
HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Statistics of English beside Chinese, and of a comparison, with their figures."""
    both, compared = tmp_path_factory.mktemp("both") / "out", tmp_path_factory.mktemp("compared") / "out"
    named = tmp_path_factory.mktemp("data") / f"{'a_long_name_' * 6}.json"
    named.write_text(json.dumps(ENGLISH), encoding="utf-8")
    describe([open_rows(named), open_rows(CHINESE)], both)
    describe([open_rows(COMPARED)], compared, tokenizer=list)
    return {"both": (both, draw_statistics(both)), "compared": (compared, draw_statistics(compared))}


def test_each_figure_is_there_in_both_formats_and_in_one_page(folders):
    names = [path.name for path in folders["both"][1]]
    stems = ["verb_noun_top", "verb_noun_sunburst", "verb_noun_sunburst_b", "lengths"]
    assert names == [f"{stem}{ending}" for stem in stems for ending in (".png", ".svg")] + ["figures.html"]
    names = [path.name for path in folders["compared"][1]]
    stems = ["verb_noun_top", "verb_noun_sunburst", "lengths", "scores"]
    assert names == [f"{stem}{ending}" for stem in stems for ending in (".png", ".svg")] + ["figures.html"]


def test_no_figure_is_blank(folders):
    from matplotlib.image import imread

    for _, files in folders.values():
        for path in files:
            if path.suffix == ".png":
                pixels = imread(path)[..., :3]
                assert pixels.shape[0] > 400
                assert pixels.shape[1] > 400
                inked = (pixels < 0.97).any(axis=2)
                assert 0.01 < inked.mean() < 0.9, path.name
                # Nothing is cut off: the outermost pixels are white.
                edges = (inked[0], inked[-1], inked[:, 0], inked[:, -1])
                assert not any(edge.any() for edge in edges), path.name


def test_an_svg_tells_what_is_pointed_at_and_what_it_shows(folders):
    folder, _ = folders["both"]
    root = ElementTree.parse(folder / "verb_noun_sunburst_b.svg").getroot()
    assert root.get("role") == "img"
    assert "写" in root.get("aria-label")
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "写 文章: 1" in titles
    assert "写: 1" in titles
    # The text is outlines: it needs no font where it is looked at.
    assert root.find(".//{http://www.w3.org/2000/svg}text") is None


def test_chinese_is_drawn_in_fonts_that_have_it(folders):
    from matplotlib.font_manager import findfont, get_font

    folder, _ = folders["both"]
    text = (folder / "verb_noun_b.csv").read_text(encoding="utf-8")
    han = {ord(character) for character in HAN.findall(text)}
    assert len(han) > 10
    covered = set()
    for family in fonts_for([text]):
        covered |= set(get_font(findfont(family, fallback_to_default=False)).get_charmap())
    assert han <= covered
    assert fonts_for(["only English, naïve café €"]) == ["DejaVu Sans"]


def test_without_a_font_on_the_machine_that_of_the_extra_is_used_and_without_both_nothing_is_drawn(monkeypatch):
    from matplotlib import font_manager

    pytest.importorskip("pylopdf_fonts_zh_cn")
    latin = [entry for entry in font_manager.fontManager.ttflist if entry.name == "DejaVu Sans"]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", latin)
    families = fonts_for(["写文章"])
    assert families == ["DejaVu Sans", "Noto Sans SC"]
    with style(["写文章"]):
        picture = Picture("zh", "one word", width=2, height=1)
        picture.figure.text(0.1, 0.5, "写文章")
        outlines = picture.svg()
    assert len(re.findall(r'<path id="NotoSansSC', outlines)) == 3
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [entry for entry in latin if entry.name == "DejaVu Sans"])
    monkeypatch.setitem(sys.modules, "pylopdf_fonts_zh_cn", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gpt4-instruct\[stats\]'"):
        fonts_for(["写文章"])


def test_a_rare_character_that_no_font_has_does_not_stop_the_rest(monkeypatch):
    from matplotlib import font_manager

    pytest.importorskip("pylopdf_fonts_zh_cn")
    families = fonts_for(["写文章"])
    assert len(families) > 1
    monkeypatch.setitem(sys.modules, "pylopdf_fonts_zh_cn", None)
    known = [entry for entry in font_manager.fontManager.ttflist if entry.name in families]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", known)
    assert fonts_for(["写文章", chr(0x9FFD) + chr(0x4DBF)])[: len(families)] == families


def test_without_matplotlib_the_command_that_installs_it_is_told(monkeypatch, folders):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"needs matplotlib.*gpt4-instruct\[stats\]"):
        draw_statistics(folders["both"][0])


class Page(HTMLParser):
    """What a page holds: tags with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_needs_nothing_else_and_quotes_what_names_hold(folders):
    text = (folders["compared"][0] / "figures.html").read_text(encoding="utf-8")
    page = Page(text)
    assert sum(tag == "svg" for tag, _ in page.tags) == 4
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "img", "b")  # <b> is in a model's name
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    assert not re.search(r"@import|url\((?!#)", text)
    cells = [each.strip() for each in page.text]
    assert "gpt-4 <b>&" in cells
    assert "$m_a$ll" in cells
    assert any(each.startswith("write letter: ") for each in cells)
    assert len(text) < 2_000_000


def test_the_same_statistics_give_the_same_files(folders, tmp_path):
    folder, files = folders["compared"]
    for name in ("summary.json", "verb_noun.csv", "verb_noun_by_source.csv", "scores.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "verb_noun_sunburst_b.png").write_bytes(b"of an earlier call")
    again = draw_statistics(tmp_path)
    assert [path.name for path in again] == [path.name for path in files]
    for one, two in zip(files, again, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name
    assert not (tmp_path / "verb_noun_sunburst_b.png").exists()


def test_data_without_pairs_and_data_with_one(tmp_path):
    describe([open_rows([{"instruction": "Why?", "input": "", "output": "Why?"}])], tmp_path)
    assert [path.name for path in draw_statistics(tmp_path)] == ["lengths.png", "lengths.svg", "figures.html"]
    describe([open_rows([{"instruction": "Why?", "input": "", "output": "I wrote a letter."}])], tmp_path)
    assert "verb_noun_sunburst.png" in [path.name for path in draw_statistics(tmp_path)]
    describe([open_rows([])], tmp_path)
    assert [path.name for path in draw_statistics(tmp_path)] == ["figures.html"]


def test_a_folder_without_statistics_is_told_from_one_with(tmp_path):
    with pytest.raises(OutputError, match=r"cannot read .*summary\.json"):
        draw_statistics(tmp_path)
    (tmp_path / "summary.json").write_text('{"checks": {}}')
    with pytest.raises(OutputError, match="not one of statistics"):
        draw_statistics(tmp_path)


# How the red, green and blue of linear light look to those who lack one kind of cone: Machado, Oliveira and Fernandes,
# "A Physiologically-based Model for Simulation of Color Vision Deficiency" (2009), severity 1.0.
LACKING = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def lab(colour: str, matrix):
    """CIE L*a*b* (D65) of an sRGB colour, seen through `matrix`."""
    import numpy as np
    from matplotlib.colors import to_rgb

    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(matrix) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ seen / np.array([0.9505, 1.0, 1.089])
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("kind", [*LACKING, "none"])
def test_the_colours_of_series_can_be_told_apart_by_everybody(kind):
    import numpy as np

    matrix = LACKING.get(kind, np.eye(3))
    seen = [lab(colour, matrix) for colour in PALETTE[:4]]  # as many as stand beside one another
    nearest = min(np.linalg.norm(one - two) for one, two in combinations(seen, 2))
    assert nearest > 15  # a difference of 2.3 is just noticeable


@pytest.mark.parametrize("colour", PALETTE)
def test_text_on_a_colour_can_be_read(colour):
    def luminance(of: str) -> float:
        lightness = lab(of, ((1, 0, 0), (0, 1, 0), (0, 0, 1)))[0]
        return ((lightness + 16) / 116) ** 3 if lightness > 8 else lightness * 27 / 24389

    light, dark = sorted((luminance(colour), luminance(ink_on(colour))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.2, section 1.4.3
