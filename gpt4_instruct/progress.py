"""Progress bars: in a terminal and in a notebook, silent everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["progress", "quiet_datasets", "wanted"]


def wanted() -> bool:
    """Whether somebody is looking: the error stream is a terminal, or this is a notebook."""
    from tqdm.auto import tqdm
    from tqdm.notebook import tqdm_notebook

    return sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)


def progress(total: Callable[[], int | None], what: str, unit: str) -> Any:
    """A `tqdm` bar, as a context manager.

    Args:
        total: called only when somebody is looking, since counting may take a while; none when it cannot be told.
        what: stands before the bar.
        unit: what is counted, in the singular.
    """
    from tqdm.auto import tqdm

    visible = wanted()
    return tqdm(total=total() if visible else None, desc=what, unit=unit, disable=not visible, dynamic_ncols=True)


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Keeps the bars of `datasets` out of logs and pipes."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if wanted() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
