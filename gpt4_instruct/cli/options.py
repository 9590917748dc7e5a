"""What several commands have in common."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["INTERRUPTED", "Engine"]

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

Engine = Annotated[str, typer.Option(help="Who does the work: local, ray, or ray:ADDRESS of a Ray cluster.")]
