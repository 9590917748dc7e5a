"""A build in a process of its own, to be killed at any moment; started by a fork server, so at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import IncompleteError
from gpt4_instruct.generation import batches, delays, engine
from gpt4_instruct.splits.build import build
from gpt4_instruct.splits.english import English  # noqa: F401
from gpt4_instruct.teachers import openai

INCOMPLETE = 7


def run(environment: dict[str, str], log: Path, timeout_s: float, options: dict[str, Any]) -> None:
    """Builds the English split; leaves with `INCOMPLETE` where the same build is to be run again."""
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    delays.FIRST_DELAY_S = 0.01
    engine._OTHERS_S = 0.02
    batches._FIRST_POLL_S = batches._OTHERS_S = batches._FULL_S = 0.03
    openai._TIMEOUT_S = timeout_s
    try:
        build("english", overwrite=True, **options)
    except IncompleteError as error:
        print(f"error: {error}", file=sys.stderr)
        _leave(log, INCOMPLETE)
    except BaseException as error:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        _leave(log, 1)
    _leave(log, 0)


def ended(log: Path) -> int | None:
    """How a build that logs there ended, or none if it was killed.

    The exit code of a process that a fork server started is lost now and then where several threads start some.
    """
    try:
        return int(log.with_name("exit").read_text())
    except FileNotFoundError:
        return None


def _leave(log: Path, code: int) -> None:
    log.with_name("exit").write_text(str(code))
    os._exit(code)
