"""Commands in real processes that start at once: forked from a server that has imported what commands import.

`python -m gpt4_instruct` takes a second to begin, and five where it needs torch. The same `main` runs here in a process,
a session, an environment and with standard streams of its own, which is killed and interrupted as any other.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["FORKS", "Forked"]

FORKS = multiprocessing.get_context("forkserver")  # one server in each process: whoever needs it first starts it
FORKS.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """A function in a forked process; `main` of the command line is one.

    Args:
        function: one of a module, since it is sent by its name.
        arguments: of the program, as `sys.argv` has them after its name.
        input: what it reads.
        terminal: a path of a terminal, which its streams are instead, and which controls it.
        env: the whole environment.
    """

    def __init__(
        self,
        function: Callable[[], Any],
        arguments: Sequence[object] = (),
        *,
        input: bytes = b"",
        terminal: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        streams = [str(Path(self._folder.name, name)) for name in ("stdin", "stdout", "stderr")]
        for path in streams:
            Path(path).write_bytes(input if path.endswith("stdin") else b"")
        places = (function, [str(each) for each in arguments], dict(env or os.environ), str(Path.cwd()))
        self._process = FORKS.Process(target=_run, args=(*places, [terminal] * 3 if terminal else streams))
        self._process.start()
        self.pid = self._process.pid or 0

    def poll(self) -> int | None:
        """How it ended, none if it has not: as `subprocess.Popen.poll`."""
        return self._process.exitcode

    def kill(self) -> None:
        """Sends SIGKILL and waits for the end."""
        self._process.kill()
        self._process.join()

    def wait(self, timeout_s: float = 120) -> int:
        """How it ended; fails, and kills it, if it does not in time."""
        self._process.join(timeout_s)
        code = self._process.exitcode
        if code is None:
            self.kill()
            raise subprocess.TimeoutExpired(str(self._process), timeout_s, self.read("stdout"), self.read("stderr"))
        return code

    def read(self, stream: str) -> bytes:
        """What it has written to `stdout` or `stderr` so far."""
        return Path(self._folder.name, stream).read_bytes()

    def finish(self, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Waits for the end: as `subprocess.run` with `capture_output` and `text`."""
        code = self.wait(timeout_s)
        return subprocess.CompletedProcess([], code, self.read("stdout").decode(), self.read("stderr").decode())


def _run(function: Callable[[], Any], arguments: list[str], env: dict[str, str], cwd: str, streams: list[str]) -> None:
    os.setsid()  # a terminal that is opened now controls it
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDWR | (0 if number == 0 or path.startswith("/dev/") else os.O_APPEND))
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    encoding = "utf-8"
    sys.stdin = os.fdopen(0, encoding=encoding, closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding=encoding, closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding=encoding, buffering=1, closefd=False)
    sys.argv = ["gpt4-instruct", *arguments]
    function()
