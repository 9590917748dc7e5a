"""Progress bars: in a terminal and in a notebook, silent everywhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

__all__ = ["first_process", "nested", "progress", "quiet_datasets", "tell", "wanted", "without_bars"]


def first_process() -> bool:
    """Whether this is the only process of a run, or the first of several: the one that writes and shows something."""
    return os.environ.get("RANK", "0") == "0"  # as torchrun and accelerate set it


def wanted() -> bool:
    """Whether somebody is looking, and at this process: the error stream is a terminal, or this is a notebook."""
    return first_process() and (sys.stderr.isatty() or _in_notebook())


def _in_notebook() -> bool:
    """Whether this is a notebook's kernel. It shows a bar as a widget or, where ipywidgets is missing, as text."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def nested() -> bool:
    """Whether somebody looks where a bar can stand below another: not in a notebook that has bars as text only."""
    if not wanted():
        return False
    from tqdm.auto import tqdm
    from tqdm.notebook import tqdm_notebook

    return sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)


def tell(line: str) -> None:
    """Writes a line to the error stream, above the bars that are there."""
    from tqdm.auto import tqdm

    tqdm.write(line, file=sys.stderr)


def progress(total: Callable[[], int | None], what: str, unit: str, *, leave: bool = True) -> Any:
    """A `tqdm` bar, as a context manager.

    Args:
        total: called only when somebody is looking, since counting may take a while; none when it cannot be told.
        what: stands before the bar.
        unit: what is counted, in the singular.
        leave: whether the bar stays where it ended. One that does not stands below another, and is left out where
            that cannot be.
    """
    from tqdm.auto import tqdm

    visible = wanted() if leave else nested()
    count = total() if visible else None
    return tqdm(total=count, desc=what, unit=unit, disable=not visible, dynamic_ncols=True, leave=leave)


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Keeps the bars of `datasets` out of logs and pipes."""
    from datasets import utils

    with nullcontext() if wanted() else without_bars(utils):
        yield


@contextmanager
def without_bars(library: Any) -> Iterator[None]:
    """Hides the bars of a library of Hugging Face's, and leaves them as they were.

    Args:
        library: its module with ``disable_progress_bars`` and the like.
    """
    if library.are_progress_bars_disabled():
        yield
        return
    library.disable_progress_bars()
    try:
        yield
    finally:
        library.enable_progress_bars()
