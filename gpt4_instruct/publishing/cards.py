"""Renders the card of a dataset folder from its manifest: what is in it, where it came from, what was left out."""

from __future__ import annotations

from typing import Any

__all__ = ["render_dataset_card"]

_SEVERITIES = ("error", "warning", "info")  # the order in which an audit's checks are listed


def render_dataset_card(manifest: dict[str, Any]) -> str:
    """The README of a dataset folder: YAML that names the configs for the Hub and `load_dataset`, then prose.

    Args:
        manifest: as `folder.read_manifest` gives it.

    Returns:
        Markdown, the same for the same manifest.
    """
    import jinja2
    from huggingface_hub import DatasetCardData

    configs = manifest["configs"]
    released = {name: config for name, config in configs.items() if "released" in config}
    made = {name: config for name, config in configs.items() if "released" not in config}
    metadata = DatasetCardData(
        license="cc-by-nc-4.0" if released else None,
        language=sorted({config["language"] for config in configs.values()}),
        task_categories=["text-generation"],
        tags=["instruction-tuning", "synthetic", "gpt4-instruct"],
        size_categories=[_size_category(sum(config["rows"] for config in configs.values()))],
        configs=[
            {
                "config_name": name,
                "data_files": [{"split": "train", "path": [file["path"] for file in config["files"]]}],
            }
            for name, config in configs.items()
            if config["files"]
        ]
        or None,
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpt4_instruct.publishing"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown; texts of rows are not shown
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["share"] = lambda part, whole: f"{part / whole:.2%}" if whole else "-"
    teachers = sorted({teacher["spec"] for config in made.values() for teacher in config["teachers"]})
    sources = sorted({config["source"] for config in made.values()})
    return environment.get_template("dataset_card.md").render(
        metadata=metadata.to_yaml(line_break="\n"),
        configs=configs,
        made=made,
        released=released,
        audited={name: config["audit"] for name, config in configs.items() if "audit" in config},
        severities=_SEVERITIES,
        example=next((name for name, config in configs.items() if config["files"]), None),
        rejected=any(config["rejected"] for config in configs.values()),
        openai=bool(released) or any(teacher.startswith(("openai:", "openai-batch:")) for teacher in teachers),
        kept=[name for name, config in made.items() if config.get("on_truncation") == "keep"],
        teachers=teachers,
        sources=sources,
        from_release=[source for source in sources if source.startswith("released")],
    )


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
