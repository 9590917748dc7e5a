"""The engine ``ray``: the same work, done by the workers of a Ray cluster (`cluster`).

``ray`` joins the cluster that ``RAY_ADDRESS`` names, or starts one on this computer for as long as the run lasts;
``ray:auto`` joins the one that runs here, ``ray:HOST:6379`` another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.quality.audit import Audited
from gpt4_instruct.sources.rows import Rows

__all__ = ["Ray"]


class Ray:
    """Has work done on a Ray cluster.

    Args:
        address: what stands behind ``ray:``; empty for ``RAY_ADDRESS``, or a cluster of this computer's own.
    """

    def __init__(self, address: str = "") -> None:
        self.address = address

    def open(self, ledger: Path, concurrency: int | None = None, **options: Any) -> Engine:
        """An engine on a ledger whose folder all machines of the cluster see; arguments as `Engine`.

        The limits and what may be spent hold for the whole cluster. So does a concurrency that is given; by default
        each worker has the teacher's own.

        Raises:
            MissingExtraError: Ray is not installed.
            UsageError: the cluster is not reached.
            LedgerError: the ledger cannot be used, or another run has it in parts.
        """
        from gpt4_instruct.cluster.engine import ClusterEngine

        return ClusterEngine(self.address, ledger, concurrency, **options)

    def examine(self, rows: Rows, checks: Sequence[str], *, required: Sequence[str] = ()) -> Audited:
        """Runs checks over rows; see `cluster.audit.examine`."""
        from gpt4_instruct.cluster.audit import examine

        return examine(rows, checks, required=required, address=self.address)

    def describe(self, data: Sequence[Rows], folder: Path, **options: Any) -> dict[str, Any]:
        """Counts what data is like; see `cluster.stats.describe`."""
        from gpt4_instruct.cluster.stats import describe

        return describe(data, folder, address=self.address, **options)
