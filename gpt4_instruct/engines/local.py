"""The engine ``local``: this process asks, many requests at once. It is the default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import UsageError
from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.quality.audit import Audited, examine
from gpt4_instruct.sources.rows import Rows

__all__ = ["Local"]


class Local:
    """Makes engines of this process.

    Args:
        address: what stands behind the colon; it takes none.

    Raises:
        UsageError: there is an address.
    """

    def __init__(self, address: str = "") -> None:
        if address:
            raise UsageError(f"the local engine has no address {address!r}: write local")

    def open(self, ledger: Path, concurrency: int | None = None, **options: Any) -> Engine:
        """An engine on a ledger; arguments as `Engine`."""
        return Engine(Ledger(ledger), concurrency, **options)

    def examine(self, rows: Rows, checks: Sequence[str], *, required: Sequence[str] = ()) -> Audited:
        """Runs checks over rows; see `quality.audit.examine`."""
        return examine(rows, checks, required=required)

    def describe(self, data: Sequence[Rows], folder: Path, **options: Any) -> dict[str, Any]:
        """Counts what data is like; see `statistics.describe.describe`."""
        from gpt4_instruct.statistics.describe import describe

        return describe(data, folder, **options)
