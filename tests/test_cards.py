"""Cards: what people write in them stays when they are rendered anew, and their metadata are true and as the Hub's."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml
from datasets import Features, load_dataset, load_dataset_builder
from huggingface_hub import DatasetCard, ModelCard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt4_instruct import OutputError, Replay, build, stats
from gpt4_instruct.publishing import planned_cards
from gpt4_instruct.publishing.card_parts import _BEGINS, _ENDS, merge_card, read_card
from gpt4_instruct.publishing.cards import render_dataset_card
from gpt4_instruct.publishing.folder import read_manifest, record_audit, record_statistics
from gpt4_instruct.publishing.self_instruct_section import self_instruct_section
from gpt4_instruct.records import Sampling
from gpt4_instruct.sources import released
from gpt4_instruct.splits.build import find_split
from gpt4_instruct.teachers import local
from tests.endpoint import Endpoint

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


@settings(max_examples=100, deadline=None)
@given(TEXTS)
@example("---\n? [a]\n: b\n---\n")
@example("---\r\na: 1\r\n---\r\nText\r\n")
@example("\ufeff---\na: 1\n---\n")
def test_merging_twice_is_merging_once(old):
    merged = merge_card(old, OURS)
    assert merge_card(merged, OURS) == merged
    assert merge_card(merge_card(merged, LATER), OURS).count("# Ours\r\n" if "\r\n" in merged else "# Ours\n") == 1


@settings(max_examples=100, deadline=None)
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


@settings(max_examples=100, deadline=None)
@given(TEXTS)
@example("---\n# Mine\n---")
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


def pushed(there, text, rendered=OURS):
    """A card as a push of a folder with such a text above and below its rendered part leaves it."""
    here = merge_card(None, rendered).replace("\n<!--", f"\n{text}\n\n<!--", 1) + f"\n{text}\n"
    return merge_card(there, here)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("See the paper for this.", "See our paper for this."),
        ("一份数据。", "一份数据。\n\n它的用处很多。"),
        ("A.\n\nB.", "A."),
    ],
)
def test_a_text_that_was_edited_is_pushed_in_place_of_its_earlier_wording(first, second, newline):
    card = pushed(f"---{newline}license: mit{newline}---{newline}# There{newline}", first)
    card = pushed(card, second, LATER)
    wanted = second.replace("\n", newline)
    before, after = _BEGINS.split(card)[0], _ENDS.split(card)[-1]
    assert before.partition("# There")[2].strip() == wanted and after.strip() == wanted
    assert pushed(card, second, LATER) == card


def test_a_text_that_was_edited_in_the_repository_stays_beside_no_copy_of_it():
    card = pushed(None, "A text with an erorr.").replace("erorr", "error")
    assert pushed(card, "A text with an erorr.", LATER).count("A text with an er") == 2, "above and below"
    both = pushed(card, "A text with an erorr or two.")
    assert both.count("A text with an error.") == both.count("A text with an erorr or two.") == 2


def test_a_text_of_another_folder_is_laid_beside():
    card = pushed(pushed(None, "These rows were made in spring."), "Ask Kim before you use it!")
    assert card.count("made in spring") == card.count("Ask Kim") == 2
    assert pushed(card, "").count("Ask Kim") == 2, "a folder without a text takes nobody's away"


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


def test_a_name_that_was_edited_again_is_the_newer_one():
    named = "---\npretty_name: {}\n---\n# Ours\n"
    here = merge_card(None, named.format("Ours"))
    card = merge_card(None, with_metadata(here, pretty_name="Mine"))
    assert metadata(merge_card(card, here)) == {"pretty_name": "Mine"}, "what is rendered gives way"
    assert metadata(merge_card(card, with_metadata(here, pretty_name="Mine, too"))) == {"pretty_name": "Mine, too"}


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


# --- cards of datasets ----------------------------------------------------------------------------------------------

TASKS = [
    {"instruction": "Name a river.", "input": "", "output": "Write a long story about the Nile.", "label": "Nile"},
    {"instruction": "写一句关于春天的话。", "input": "", "output": "春天来了，花开了。"},
    {"instruction": "Refuse.", "input": "", "output": "As an AI language model, I cannot."},
]
# Those of the Hub's list that a card of ours may name: https://huggingface.co/docs/hub/repositories-licenses
LICENCES = {"apache-2.0", "cc-by-nc-4.0", "mit", "other", "unknown"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder of three configs, one of them answered by a model behind an endpoint."""
    place = tmp_path_factory.mktemp("cards")
    (place / "tasks.json").write_text(json.dumps(TASKS))
    with pytest.MonkeyPatch.context() as patch, Endpoint() as server:
        patch.setenv("GPT4_INSTRUCT_HOME", str(place / "home"))
        patch.setenv("OPENAI_BASE_URL", server.url)
        patch.setenv("OPENAI_API_KEY", server.key)
        server.script = lambda request, count: "7"  # an answer, and a score
        build("english", place / "tasks.json", teacher=Replay(TASKS), out=place / "data")
        build("chinese", place / "tasks.json", teacher=Replay(TASKS), limit=2, out=place / "data")
        build("comparison", place / "tasks.json", teacher="openai:gpt-4", limit=2, out=place / "data")
    return place / "data"


@pytest.fixture
def folder(built, tmp_path):
    """A copy of it, to be changed."""
    return Path(shutil.copytree(built, tmp_path / "data"))


class OnceOnly(yaml.SafeLoader):
    """Refuses a key that is there twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


def valid(text, kind=DatasetCard):
    """The card as the Hub's library reads it, with what its server would refuse looked for as far as it is known."""
    card = kind(text)
    block = yaml.load(text.split("---\n", 2)[1], OnceOnly)
    again = {key: value for key, value in kind(str(card)).data.to_dict().items() if value is not None}
    assert again == card.data.to_dict(), "nothing is lost on the way"
    assert set(block) == set(card.data.to_dict())
    assert block["license"] in LICENCES
    assert ("license_name" in block) == (block["license"] == "other")
    assert all(isinstance(each, str) and 2 <= len(each) <= 3 for each in block["language"])
    assert all(isinstance(each, str) for each in block["tags"])
    for config in block.get("configs", ()):
        assert set(config) <= {"config_name", "default", "data_files"}
    return card


def test_a_folders_card_is_valid_and_its_numbers_are_those_of_the_files(folder):
    card = valid(read_card(folder / "README.md"))
    names = [each["config_name"] for each in card.data.configs]
    assert names == ["chinese", "comparison", "english"]
    assert [each["config_name"] for each in card.data.configs if each.get("default")] == ["english"]
    assert card.data.language == ["en", "zh"]
    for told in card.data.dataset_info:
        files = list((folder / told["config_name"]).glob("*.parquet"))
        table = pyarrow.parquet.read_table(files)
        (split,) = told["splits"]
        assert (split["name"], split["num_examples"]) == ("train", table.num_rows)
        # As `datasets` counts when it writes; read again, a column may have a bit more a row, which tells of nulls.
        assert split["num_bytes"] == told["dataset_size"] == pytest.approx(table.nbytes, rel=0.02)
        assert told["download_size"] == sum(file.stat().st_size for file in files)
        assert Features._from_yaml_list(told["features"]) == Features.from_arrow_schema(table.schema)
    assert "{{" not in card.text and "None" not in card.text and "not run yet" not in card.text


def test_what_the_card_says_is_what_is_loaded(folder):
    told = {each["config_name"]: each for each in DatasetCard.load(folder / "README.md").data.dataset_info}
    for name, each in told.items():
        info = load_dataset_builder(str(folder), name).info  # from the card alone
        assert info.splits["train"].num_examples == each["splits"][0]["num_examples"]
        assert info.features._to_yaml_list() == each["features"]
        dataset = load_dataset(str(folder), name, split="train")
        assert dataset.features._to_yaml_list() == each["features"]
        assert dataset.num_rows == each["splits"][0]["num_examples"]
    streamed = load_dataset(str(folder), "comparison", split="train", streaming=True)
    assert next(iter(streamed))["responses_and_scores"][0]["score"] == 7.0
    assert load_dataset(str(folder), split="train").features == Features._from_yaml_list(told["english"]["features"])


def test_the_cards_code_loads_the_rows(folder):
    text = read_card(folder / "README.md").replace("PATH_OR_REPOSITORY", str(folder))
    names = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, names)
    assert names["english"].num_rows == 1
    assert names["messages"][0]["messages"][-1]["content"] == TASKS[0]["output"]


def test_a_card_tells_columns_teachers_rejects_and_where_rows_are_from(folder):
    text = read_card(folder / "README.md")
    for line in (
        "| `metadata.translator` | string | chinese | who translated the task; empty where nobody did |",
        "| `responses_and_scores` | list of (response, source, score) | comparison | each model's answer, who wrote it, "
        "and its score from 1 (worst) to 10 (best) |",
        "| comparison | score | `openai:gpt-4` | `gpt-4` |",
        "| english | refusal | 1 | 33.33% |",
        "Without a name, english is loaded.",
        "@article{peng2023instruction,",
    ):
        assert line in text, line
    for name, config in read_manifest(folder)["configs"].items():
        assert f"| {name} | {config['package']} | `{config['config_id']}` |" in text


def test_hand_written_parts_outlive_builds_and_audits(folder, tmp_path):
    card = folder / "README.md"
    text = with_metadata(read_card(card), thumbnail="x.png", license="mit")
    text = text.replace("\n<!--", "\nOur own words.\n\n<!--", 1) + "\n## Thanks\r\n\nTo all.  "
    card.write_bytes(text.encode())
    (tmp_path / "tasks.json").write_text(json.dumps(TASKS))
    build("english", tmp_path / "tasks.json", teacher=Replay(TASKS), limit=1, overwrite=True, out=folder)
    record_audit(folder, "chinese", {"rows": 1, "rows_with_findings": 0, "checks": {}, "package": "0"})
    now = read_card(card)
    assert "chinese: 0 of 1 rows have a finding" in now and "| english | 1 | 0 | tasks.json |" in now
    assert "\nOur own words.\n" in now and now.endswith("\n## Thanks\r\n\nTo all.  ")
    assert metadata(now)["thumbnail"] == "x.png"
    assert metadata(now)["license"] == "mit", "ours is unknown"
    assert [each["config_name"] for each in metadata(now)["configs"]] == ["chinese", "comparison", "english"]


def test_statistics_are_on_the_card_with_their_pictures_until_other_rows_are_built(folder, tmp_path):
    stats(f"{folder}:english", out=tmp_path / "stats", processes=1)
    config = read_manifest(folder)["configs"]["english"]
    text = read_card(folder / "README.md")
    assert config["statistics"]["answers"] == 1 and "histogram" not in config["statistics"]["words"]
    assert "| all answers | 1 | 7.0, 7, 7 | - | 1 | 100.0% | - |" in text
    assert "The commonest: write story (1)." in text
    shown = re.findall(r"!\[[^]]+\]\((figures/[^)]+)\)", text)
    assert shown == config["statistics"]["figures"] and len(shown) == 3
    for figure in shown:
        assert (folder / figure).read_bytes() == (tmp_path / "stats" / figure.partition("-")[2]).read_bytes()
    # Other statistics take their place, with fewer pictures; other rows have none.
    record_statistics(folder, "english", config["statistics"], [folder / shown[0]])
    assert [each.name for each in (folder / "figures").iterdir()] == [f"english-{Path(shown[0]).name}"]
    (tmp_path / "tasks.json").write_text(json.dumps(TASKS))
    build("english", tmp_path / "tasks.json", teacher=Replay(TASKS), overwrite=True, out=folder)
    assert not list((folder / "figures").iterdir())
    assert "![" not in read_card(folder / "README.md")


def test_of_two_data_sets_each_gets_its_own_numbers_and_picture(folder, tmp_path, monkeypatch):
    def draw(place):
        files = [place / f"{name}.png" for name in ("lengths", "verb_noun_sunburst", "verb_noun_sunburst_b")]
        for file in files:
            file.write_text(file.name)
        return files

    monkeypatch.setattr("gpt4_instruct.figures.statistics.draw_statistics", draw)
    stats(f"{folder}:english", f"{folder}:comparison", out=tmp_path / "stats", processes=1)
    told = {name: each.get("statistics") for name, each in read_manifest(folder)["configs"].items()}
    assert told["chinese"] is None
    assert told["english"]["figures"] == ["figures/english-verb_noun_sunburst.png"]
    assert told["comparison"]["figures"] == ["figures/comparison-verb_noun_sunburst_b.png"]
    assert told["comparison"]["scores"]["mean"] == 7.0 and list(told["comparison"]["sources"]) == ["gpt-4", "gpt-4#2"]
    assert "| gpt-4#2 | 2 | 1.0, 1, 1 | - | 0 | 0.0% | 7.00 ± 0.00 |" in read_card(folder / "README.md")


def test_a_card_that_cannot_be_kept_stops_a_build_before_anything_is_asked(folder, tmp_path):
    (folder / "README.md").write_bytes(b"\xff\xfe")
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(OutputError, match=r"README\.md is not UTF-8"):
        build("english", teacher="replay:nothing.jsonl", overwrite=True, out=folder)
    with pytest.raises(OutputError, match=r"README\.md is not UTF-8"):
        record_audit(folder, "chinese", {"rows": 1, "rows_with_findings": 0, "checks": {}, "package": "0"})
    assert (folder / "manifest.json").read_bytes() == before


def config_of(source="seeds", *specs, **more):
    config = read_sample()
    return {**config, "source": source, "teachers": [{"stage": "answer", "spec": each, "model": each} for each in specs],
            **more}  # fmt: skip


def read_sample():
    manifest = planned_cards.DATA["english.md"].manifest()["configs"]["english"]
    return {**manifest, "rows": 3, "built": "2024-01-01", "asked": 1, "reused": 0, "prompt_tokens": 1,
            "completion_tokens": 1, "package": "0", "config_id": "x", "source_fingerprint": "0" * 64}  # fmt: skip


FILE = {"repository": "a/b", "commit": "0" * 40, "path": "x.json", "blob": "0" * 40}


@pytest.mark.parametrize(
    ("configs", "licence"),
    [
        ([config_of("seeds", "local:smollm2")], "apache-2.0"),
        ([config_of("seeds", "openai:gpt-4")], "other"),
        ([config_of("released:alpaca", "openai-batch:gpt-4")], "other"),
        ([config_of("released:alpaca", "local:smollm2")], "cc-by-nc-4.0"),
        ([config_of("seeds", "local:smollm2", "replay")], "unknown"),
        ([config_of("mine.json", "openai:gpt-4")], "unknown"),
        ([config_of("released", released={**FILE, "licence": "cc-by-nc-4.0"})], "cc-by-nc-4.0"),
        ([config_of("released", released={**FILE, "licence": None})], "unknown"),
        ([config_of("released", released={**FILE, "licence": "cc-by-nc-4.0"}), config_of("seeds", "local:smollm2")],
         "cc-by-nc-4.0"),
        ([config_of("released", released={**FILE, "licence": "cc-by-nc-4.0"}), config_of("x.json", "replay")],
         "unknown"),
    ],
)  # fmt: skip
def test_a_licence_is_named_only_where_all_terms_are_known(configs, licence):
    card = valid(render_dataset_card({"configs": {f"c{number}": each for number, each in enumerate(configs)}}))
    assert card.data.license == licence
    assert ("`license: unknown`" in card.text) == (licence == "unknown")


def test_a_self_instruct_config_has_its_section_and_both_languages():
    found = {"round": 1, "asked": 2, "refused": 0, "parsed": 4, "accepted": 3, "rejected": {"similar": 1}, "topics": 1,
             "prompt_tokens": 1, "completion_tokens": 1, "cost_usd": 0.5, "verbs": 3, "pairs": 2, "kinds": {"a": 3},
             "similarity": 0.2}  # fmt: skip
    told = {"recipe": "gpt4-instruct", "language": "both", "seeds": 160, "seeds_left_out": {}, "stopped": "dry",
            "stopped_detail": "no more", "invented": 3, "usd_per_row": 0.1, "rounds": [found]}  # fmt: skip
    config = config_of("seeds", "openai:gpt-4", language="both", self_instruct=told, cost_usd=0.5, rejected={})
    card = valid(render_dataset_card({"configs": {"self_instruct": config}}))
    assert card.data.language == ["en", "zh"]
    assert self_instruct_section(config).strip() in card.text
    assert "self-instruct" in card.data.tags and "wang2022selfinstruct" in card.text


MARKUP = "a|b `c` <img src=x> *d* [e](http://f) <!-- g\n<!-- gpt4-instruct: up to here {} -->\n# h"


def shape(card):
    """The kinds of the parts that a reader of Markdown finds, in order; and whether HTML is among them."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(card.split("---\n", 2)[2])
    inside = [each.type for token in tokens for each in token.children or ()]
    assert not {"html_block", "html_inline"} & {*inside, *(each.type for each in tokens)}
    return [token.type for token in tokens]


def test_texts_from_outside_are_no_markup():
    def card(text):
        one = {"answers": 3, "unique_pairs": 1, "share_with_pair": 0.5, "top_pairs": [[text, "story", 3]]}
        config = config_of(text, f"local:{text}", rejected={text: 2}, title=text)
        config["teachers"] = [{"stage": f"answer of {text}", "spec": f"local:{text}", "model": text}]
        found = {text: {"severity": "error", "findings": 1, "rows": 1}}
        config["audit"] = {"rows": 3, "rows_with_findings": 1, "package": "1", "checks": found}
        config["statistics"] = {**one, "sources": {text: one, "b": one}, "figures": [], "package": "1"}
        return render_dataset_card({"configs": {"english": config}})

    assert shape(card(MARKUP)) == shape(card("a"))
    assert "released:unnatural-core" in render_dataset_card(
        {"configs": {"unnatural": config_of("released:unnatural-core", "local:x")}}
    ), "where nothing is markup, nothing is changed"


# --- cards of what is to be published -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(planned_cards.DATA))
def test_a_planned_card_is_of_the_split_as_it_is(name, tmp_path, monkeypatch):
    """Its command builds it: with the same steps, asked of the same models, under the same title."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    (tmp_path / "released.json").write_text(json.dumps(TASKS))
    monkeypatch.setattr(released, "fetch", lambda file: tmp_path / "released.json")
    monkeypatch.setattr(local, "find_model", lambda argument: (Path(argument), argument, f"{argument}@0"))
    planned = planned_cards.DATA[name]
    _, command, split, *words = shlex.split(planned.command)
    options = list(zip(words[::2], words[1::2], strict=True))
    assert (command, split, options.pop()) == ("build", planned.split, ("--out", "FOLDER"))
    given = {option[2:].replace("-", "_"): value for option, value in options if option != "--answers-from"}
    given |= {"accept": int(given["accept"])} if "accept" in given else {}
    several = [value for option, value in options if option == "--answers-from"]
    builder = find_split(split)(**given, **({"answers_from": tuple(several)} if several else {}))
    assert [(each["stage"], each["spec"]) for each in builder.identity["teachers"]] == list(planned.steps)
    assert planned.title == builder.TITLE and builder.source.name == planned.source
    assert builder.sampling == Sampling()
    card = valid(planned_cards.render_planned_cards()[name])
    assert Features._from_yaml_list(card.data.dataset_info[0]["features"]) == builder.info.features
    assert card.data.language == [builder.LANGUAGE]
    assert f"`{planned.command}`" in card.text and "**Not built yet.**" in card.text
    assert card.data.get("configs") is None and card.data.size_categories is None
    table = card.text.partition("| config | rows |")[2].partition("\n\n")[0].splitlines()[-1]
    assert table.count("*not run yet*") == 4


@pytest.mark.parametrize("name", list(planned_cards.MODELS))
def test_a_planned_models_card_is_valid(name):
    assert valid(planned_cards.render_planned_cards()[name], ModelCard).data.pipeline_tag
