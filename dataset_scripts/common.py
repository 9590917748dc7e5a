"""What the scripts share: their options, and from a split to the Hub."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from gpt4_instruct import Gpt4InstructError, build, push, show

__all__ = ["make", "options"]


def options(description: str | None, *, source: str | None) -> argparse.ArgumentParser:
    """The options of every script.

    Args:
        description: the script's docstring.
        source: where instructions come from when a teacher answers; none for a script that has another way.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if source:
        parser.add_argument("--limit", type=int, help="most rows to read from the source (default: all)")
        asked = "" if source == "released" else f"; with a teacher, {source}"
        parser.add_argument("--source", help=f"where instructions come from (default: released{asked})")
    who = "as released; of another source, local:smollm2" if source else "local:smollm2"
    known = "openai:MODEL, local:PATH, replay:PATH, ..."
    parser.add_argument("--teacher", metavar="SPEC", help=f"who answers: {known} (default: {who})")
    parser.add_argument("--out", default="gpt4-instruct-data", help="the folder (default: %(default)s)")
    parser.add_argument("--push-to", metavar="REPO_ID", help="the dataset on the Hub to publish to, as ME/NAME")
    parser.add_argument("--public", action="store_true", help="for everybody to see; else a new dataset is private")
    parser.add_argument("--accept-terms", action="store_true", help="with --public: you have read the card's terms")
    return parser


def make(split: str, given: argparse.Namespace, **config: Any) -> None:
    """Builds a split, shows it and, where a repository is named, publishes the folder.

    A split that the folder has is built anew: answers that are in the ledger are not asked again.

    Args:
        split: its name.
        given: what `options` read.
        **config: the arguments of `build` for this split.
    """
    try:
        result = build(split, out=given.out, overwrite=True, **config)
        show(result.folder, rows=1)
        if not result.rows:
            sys.exit("error: no row was accepted; rejects/ in the folder holds all with their reasons")
        if given.push_to:
            print(push(result.folder, given.push_to, public=given.public, accept_terms=given.accept_terms).url)
    except Gpt4InstructError as error:
        sys.exit(f"error: {error}")
