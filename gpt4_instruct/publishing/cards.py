"""Renders the card of a dataset folder from its manifest: what is in it, where it came from, what was left out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpt4_instruct.publishing.card_columns import columns_table
from gpt4_instruct.publishing.card_statistics import statistics_table
from gpt4_instruct.publishing.origins import joint_licence, origin_of
from gpt4_instruct.publishing.rendering import render
from gpt4_instruct.publishing.run_tables import NOT_RUN

__all__ = ["dataset_licence", "languages_of", "render_dataset_card"]

_SEVERITIES = ("error", "warning", "info")  # the order in which an audit's checks are listed
_FIRST = ("english", "self_instruct", "chinese", "unnatural", "comparison")  # the order of what is loaded by default
_OPENAI = ("openai:", "openai-batch:")
_SMOLLM2 = "local:smollm2"  # whose licence is known: Apache-2.0
_TITLE = "Instruction data made with gpt4-instruct"
_TERMS = "terms-of-sources-and-models"
# Who is to be cited for a config, besides the paper that all of this is after.
_OF_ALPACA = {"english", "chinese", "released:alpaca", "released:english", "released:chinese"}  # instructions
_CITED = {"self_instruct": ("self_instruct",), "unnatural": ("unnatural",)}


def render_dataset_card(manifest: dict[str, Any], *, title: str | None = None, command: str | None = None) -> str:
    """The README of a dataset folder: YAML that names the configs for the Hub and `load_dataset`, then prose.

    Args:
        manifest: as `folder.read_manifest` gives it; what is None there reads "not run yet".
        title: of the card, where it has one of its own.
        command: that builds the data, where it was not built.

    Returns:
        Markdown, the same for the same manifest.
    """
    configs = manifest["configs"]
    released = {name: config for name, config in configs.items() if "released" in config}
    made = {name: config for name, config in configs.items() if "released" not in config}
    invented = {name: config for name, config in configs.items() if config.get("self_instruct")}
    sources = sorted({config["source"] for config in made.values()})
    teachers = sorted({teacher["spec"] for config in made.values() for teacher in config["teachers"]})
    licence = dataset_licence(configs)
    return render(
        "dataset_card.md",
        _FILTERS,
        metadata=_metadata(configs, title, licence),
        title=title or _TITLE,
        planned=command is not None,
        command=command,
        not_run=NOT_RUN,
        configs=configs,
        made=made,
        released=released,
        sections=[_section(config) for config in invented.values()],
        columns=columns_table({name: config["features"] for name, config in configs.items() if config.get("features")}),
        statistics={name: statistics_table(config["statistics"]) for name, config in configs.items()
                    if "statistics" in config},
        audited={name: config["audit"] for name, config in configs.items() if "audit" in config},
        severities=_SEVERITIES,
        default=_default(configs),
        rejected=any(config["rejected"] for config in configs.values()),
        openai=bool(released) or any(teacher.startswith(_OPENAI) for teacher in teachers),
        kept=[name for name, config in made.items() if config.get("on_truncation") == "keep"],
        teachers=teachers,
        sources=sources,
        from_release=[source for source in sources if source.startswith("released")],
        licence=licence,
        cited=sorted({paper for config in configs for paper in _CITED.get(config, ())}),
        alpaca="self_instruct" in configs or bool(_OF_ALPACA & {*released, *sources}),
    )  # fmt: skip


def languages_of(configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The languages of all configs, by their codes.

    >>> languages_of({"english": {"language": "en"}, "self_instruct": {"language": "both"}})
    ['en', 'zh']
    """
    return sorted(
        {each for config in configs.values() for each in _BOTH.get(config["language"], (config["language"],))}
    )


_BOTH = {"both": ("en", "zh")}


def dataset_licence(configs: Mapping[str, Mapping[str, Any]]) -> str:
    """The licence that the metadata can name for these configs together, never more than is known.

    Returns:
        the licence of a release, or of a source whose answers have no other terms; ``"other"`` where the terms of a
        source and those of a model apply together; ``"unknown"`` where those of any are not known.

    >>> ours = {"source": "seeds", "teachers": [{"spec": "local:smollm2"}]}
    >>> theirs = {"source": "seeds", "teachers": [{"spec": "openai:gpt-4"}]}
    >>> unknown = {**ours, "source": "mine.json"}
    >>> [dataset_licence({"a": each}) for each in (ours, theirs, unknown)]
    ['apache-2.0', 'other', 'unknown']
    """
    found: list[str | None] = []
    for config in configs.values():
        if "released" in config:
            found.append(config["released"].get("licence"))
            continue
        found.append(origin_of(config["source"]).licence)
        specs = {teacher["spec"] for teacher in config["teachers"]}
        found += ["other" if spec.startswith(_OPENAI) else "apache-2.0" if spec == _SMOLLM2 else None for spec in specs]
    known = [each for each in found if each is not None]
    return functools.reduce(joint_licence, known) if known and len(known) == len(found) else "unknown"


def _metadata(configs: Mapping[str, Mapping[str, Any]], title: str | None, licence: str) -> str:
    """The card's YAML, as the Hub reads it."""
    from huggingface_hub import DatasetCardData

    default = _default(configs)
    rows = [config["rows"] for config in configs.values()]
    metadata = DatasetCardData(
        pretty_name=title or f"{_TITLE}: {', '.join(configs)}",
        license=licence,
        license_name=_TERMS if licence == "other" else None,
        language=languages_of(configs),
        task_categories=["text-generation"],
        tags=["instruction-tuning", "synthetic", "gpt4-instruct"]
        + [tag for name, tag in (("comparison", "preference"), ("self_instruct", "self-instruct")) if name in configs],
        size_categories=None if None in rows else [_size_category(sum(rows))],
        dataset_info=[
            {"config_name": name, "features": config["features"], **_sizes(config)}
            for name, config in configs.items()
            if config.get("features")
        ]
        or None,
        configs=[
            {
                "config_name": name,
                **({"default": True} if name == default else {}),
                "data_files": [{"split": "train", "path": [file["path"] for file in config["files"]]}],
            }
            for name, config in configs.items()
            if config["files"]
        ]
        or None,
    )
    return str(metadata.to_yaml(line_break="\n"))


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """As `datasets` tells them: bytes to download, which are the Parquet files', and bytes in memory."""
    if not config["files"]:
        return {}
    size = config["dataset_bytes"]
    return {
        "splits": [{"name": "train", "num_bytes": size, "num_examples": config["rows"]}],
        "download_size": sum(file["bytes"] for file in config["files"]),
        "dataset_size": size,
    }


def _default(configs: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The config that is loaded where none is named; none where there is nothing to load."""
    loadable = [name for name, config in configs.items() if config["files"] or config["rows"] is None]
    return min(loadable, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST), default=None)


def _section(config: dict[str, Any]) -> str:
    from gpt4_instruct.publishing.self_instruct_section import self_instruct_section

    return self_instruct_section(config).strip("\n")


def _megabytes(files: Sequence[Mapping[str, Any]] | None) -> str:
    """The size of files.

    >>> _megabytes([{"bytes": 1_250_000}, {"bytes": 300_000}]), _megabytes([{"bytes": 812}])
    ('1.6 MB', '0.8 kB')
    """
    size = sum(file["bytes"] for file in files or ())
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"


_FILTERS: dict[str, Callable[..., Any]] = {  # of the template
    "megabytes": _megabytes,
    "usd": lambda cost: "-" if cost is None else f"{cost:,.2f}",
    "share": lambda part, whole: f"{part / whole:.2%}" if whole else "-",
}


def _size_category(rows: int) -> str:
    """The Hub's name for a number of rows.

    >>> _size_category(0), _size_category(999), _size_category(1000), _size_category(52_002)
    ('n<1K', 'n<1K', '1K<n<10K', '10K<n<100K')
    """
    bounds = [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
    words = ["1K", "10K", "100K", "1M", "10M", "100M"]
    if rows < bounds[0]:
        return "n<1K"
    for low, high, bound in zip(words, words[1:], bounds[1:], strict=False):
        if rows < bound:
            return f"{low}<n<{high}"
    return "n>100M"
