"""Cards: what people write in them stays when they are rendered anew, and their metadata are true and as the Hub's."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt4_instruct import OutputError
from gpt4_instruct.publishing.card_parts import _BEGINS, _ENDS, merge_card, read_card

OURS = "---\nlicense: cc-by-nc-4.0\nlanguage:\n- en\ntags:\n- synthetic\nconfigs:\n- config_name: english\n  default: true\n  data_files: a.parquet\n---\n\n# Ours\n\nWords.\n"
LATER = "---\nlicense: unknown\nlanguage:\n- zh\ntags:\n- new\nconfigs:\n- config_name: chinese\n  default: true\n  data_files: b.parquet\n---\n\n# Ours, later\n"


def metadata(card):
    return yaml.safe_load(card.split("---", 2)[1])


def with_metadata(card, **more):
    """The card as somebody leaves it who edits its YAML."""
    _, block, text = card.split("---\n", 2)
    return f"---\n{yaml.safe_dump({**yaml.safe_load(block), **more}, sort_keys=False)}---\n{text}"


# --- hand-written parts ---------------------------------------------------------------------------------------------

LINES = st.sampled_from(
    ["", "---", "# Mine", "license: mit", "tags: [a, b]", "- x", "&a [*a]", "a: b", "a: 2024-99-99", "{", "```", "<!--", "-->"]
    + [line for line in merge_card(None, OURS).split("\n") if "gpt4-instruct" in line]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=200),
    st.builds(lambda lines, end: end.join(lines), st.lists(LINES, max_size=12), st.sampled_from(["\n", "\r\n"])),
)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
@example("---\n? [a]\n: b\n---\n")
@example("---\r\na: 1\r\n---\r\nText\r\n")
@example("\ufeff---\na: 1\n---\n")
def test_merging_twice_is_merging_once(old):
    merged = merge_card(old, OURS)
    assert merge_card(merged, OURS) == merged
    assert merge_card(merge_card(merged, LATER), OURS).count("# Ours\r\n" if "\r\n" in merged else "# Ours\n") == 1


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS)
def test_what_people_wrote_around_the_markers_stays_byte_for_byte(above, below):
    fresh = merge_card(None, OURS)
    begin, end = _BEGINS.search(fresh), _ENDS.search(fresh)
    above, below = (_ENDS.sub("", _BEGINS.sub("", each)) for each in (above, below))
    above += "" if above.endswith("\n") or not above else "\n"
    edited = fresh[: begin.start()] + above + fresh[begin.start() : end.end()] + below
    card = merge_card(merge_card(edited, LATER), OURS)
    assert card.endswith(below)
    begin = _BEGINS.search(card)
    assert card[: begin.start()].endswith(above if above.strip() else "\n")


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_no_line_of_a_card_without_markers_is_lost(old):
    old = _ENDS.sub("", _BEGINS.sub("", old))
    card = merge_card(merge_card(old, OURS), LATER)
    text = old.removeprefix("\ufeff")
    if not re.match(r"\s*---\r?\n", text):
        assert not text.strip() or text in card
    for line in re.split(r"\r?\n", text):
        if re.fullmatch(r"# Mine|- x", line):
            assert line in card


def test_a_card_without_markers_is_kept_above_and_the_rendered_one_is_replaced():
    card = merge_card("# Mine\n\nHello.", OURS)
    assert card.index("# Mine\n\nHello.") < card.index("# Ours")
    assert merge_card(OURS, OURS) == merge_card(None, OURS)
    assert merge_card(OURS.replace("\n", "\r\n"), OURS).count("# Ours") == 1


@pytest.mark.parametrize("lost", ["rendered from here", "up to here"])
def test_a_card_that_lost_a_marker_loses_nothing_else(lost):
    marked = merge_card(None, OURS) + "\nMine.\n"
    damaged = "".join(line for line in marked.splitlines(keepends=True) if lost not in line)
    card = merge_card(damaged, LATER)
    assert "Mine.\n" in card and "# Ours\n" in card and "# Ours, later\n" in card
    assert len(_BEGINS.findall(card)) == len(_ENDS.findall(card)) == 1
    assert merge_card(card, LATER) == card


def test_markers_that_stand_twice_are_damage_too():
    marked = merge_card(None, OURS) + "\nMine.\n"
    card = merge_card(marked + marked.split("---\n", 2)[2], LATER)
    assert card.count("Mine.") == 2
    assert len(_BEGINS.findall(card)) == 1


@pytest.mark.parametrize(
    "block", ["a: [", "- a\n- b", "a: 1\na: 2", "just text", "a: 2024-99-99", "? {a: b}\n: c", "\x07"]
)
def test_a_yaml_block_that_is_broken_is_kept_as_text(block):
    card = merge_card(f"---\n{block}\n---\nMine.\n", OURS)
    assert metadata(card) == metadata(OURS)
    assert f"---\n{block}\n---\nMine.\n" in card
    assert merge_card(card, OURS) == card


def test_line_ends_are_those_of_the_card_that_is_there():
    card = merge_card("---\r\nthumbnail: x.png\r\n---\r\n# Mine\r\n", OURS)
    assert "\n" not in card.replace("\r\n", "")
    assert "\r\nthumbnail: x.png\r\n" in card


def test_what_people_wrote_in_both_cards_is_kept():
    """A folder's card, pushed into a repository whose card was edited, too."""
    there = merge_card(None, OURS).replace("\n<!--", "\nThere.\n\n<!--", 1) + "\nBoth.\n"
    here = merge_card(None, LATER).replace("\n<!--", "\nHere.\n\n<!--", 1) + "\nBoth.\n"
    card = merge_card(there, here)
    assert card.index("There.") < card.index("Here.") < card.index("# Ours, later")
    assert card.count("Both.") == 1
    assert merge_card(card, here) == card


# --- metadata -------------------------------------------------------------------------------------------------------


def test_what_an_earlier_rendering_wrote_goes_and_what_people_added_stays():
    first = merge_card(None, OURS)
    edited = with_metadata(
        first,
        language=["en", "de"],
        tags=["synthetic", "mine"],
        thumbnail="x.png",
        configs=[*metadata(first)["configs"], {"config_name": "own", "data_files": "own.csv", "default": True}],
    )
    assert metadata(merge_card(edited, LATER)) == {
        "license": "unknown",  # cc-by-nc-4.0 was ours
        "language": ["zh", "de"],
        "tags": ["new", "mine"],
        "configs": [
            {"config_name": "chinese", "data_files": "b.parquet"},  # the Hub takes one default: theirs
            {"config_name": "own", "data_files": "own.csv", "default": True},
        ],
        "thumbnail": "x.png",
    }


@pytest.mark.parametrize("ours", ["license: unknown\n", "license:\n", "tags:\n- a\n"])
def test_a_licence_that_people_named_stays_where_ours_is_not_known(ours):
    new = f"---\n{ours}---\n# Ours\n"
    for old in ("---\nlicense: mit\n---\n", with_metadata(merge_card(None, new), license="mit")):
        assert metadata(merge_card(merge_card(old, new), new))["license"] == "mit"
    assert metadata(merge_card("---\nlicense: mit\n---\n", OURS))["license"] == "cc-by-nc-4.0"


def test_sizes_are_replaced_and_a_single_language_is_a_list():
    new = "---\nlanguage:\n- en\nsize_categories:\n- n<1K\n---\n# Ours\n"
    card = merge_card("---\nlanguage: de\nsize_categories:\n- 1K<n<10K\n---\n", new)
    assert metadata(card) == {"language": ["en", "de"], "size_categories": ["n<1K"]}


def result(dataset, value):
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": dataset, "type": "x"},
        "metrics": [{"type": "loss", "value": value}],
    }


def index_of(*results):
    return "---\n" + yaml.safe_dump({"model-index": [{"name": "M", "results": [*results]}]}) + "---\n# Ours\n"


def test_results_are_renewed_and_those_of_others_are_kept():
    first = merge_card(None, index_of(result("ours", 1.0), result("gone", 2.0)))
    edited = with_metadata(
        first, **{"model-index": [{"name": "M", "results": [result("ours", 9.0), result("theirs", 3.0)]}]}
    )
    card = metadata(merge_card(edited, index_of(result("ours", 1.5))))
    assert card["model-index"] == [{"name": "M", "results": [result("ours", 1.5), result("theirs", 3.0)]}]
    assert metadata(merge_card(edited, OURS))["model-index"] == [{"name": "M", "results": [result("theirs", 3.0)]}]
    assert "model-index" not in metadata(merge_card(first, OURS))


def test_reading_a_card_keeps_its_line_ends_and_names_one_that_is_not_text(tmp_path):
    path = tmp_path / "README.md"
    assert read_card(path) is None
    path.write_bytes("\ufeff# Gr\u00fc\u00df\r\n".encode())
    assert read_card(path) == "# Gr\u00fc\u00df\r\n"
    path.write_bytes(b"\xff\xfe#")
    with pytest.raises(OutputError, match="not UTF-8"):
        read_card(path)
