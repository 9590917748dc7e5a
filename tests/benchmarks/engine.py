"""The benchmark of the engine, beside the bare openai client and beside peers, on a quiet machine. Prints one table.

    python tests/benchmarks/engine.py [--quick] [--skip-peers] [--only NAME ...]

Requests a second: all ask the same prompts of the same endpoint (`server.py`, in a process of its own, which answers
after 50 ms), with as many in flight, each time in a fresh process and in turns, so that a busy moment hits all alike.
Timed is the asking, not the imports: once by the asker's clock and once by the endpoint's, from the first request's
arrival to the last answer's departure, which leaves out what a library does before and after.

Memory, and the start of a run that goes on where another one stopped: by a teacher that answers at once.

The peers are installed when they are first needed (`peers.py`), into `--peers-venv`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import peers
from server import MODEL

_FOLDER = Path(__file__).parent
_CACHE = Path("~/.cache/gpt4-instruct-bench")
_SEEDS = _FOLDER.parents[1] / "gpt4_instruct/sources/seeds.jsonl"
_NAMES = ("bare", "ours", *peers.NAMES, "memory")
_PROMPT_CHARACTERS = 200
_RUN_TIMEOUT_S = 600
_LARGE_TIMEOUT_S = 3000
_SMALL = 10_000

Line = tuple[str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--concurrency", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=1_000_000, help="requests of the long run (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round, and a long run of 100,000 requests")
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--peers-venv", type=Path, default=_CACHE, metavar="DIR")
    parser.add_argument("--only", nargs="+", choices=_NAMES, default=_NAMES, metavar="NAME", help=", ".join(_NAMES))
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.large = 1, 100_000
    names = [name for name in _NAMES if name in options.only and not (options.skip_peers and name in peers.NAMES)]
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as folder:
        contenders = [name for name in names if name != "memory"]
        if contenders:
            lines += throughput(contenders, options, Path(folder))
        if "memory" in names:
            lines += long_run(options.large, Path(folder))
    _print([("what", "measured", "wanted"), *lines])


def _print(lines: list[Line]) -> None:
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


# --- requests a second ------------------------------------------------------------------------------------------------


def throughput(names: list[str], options: argparse.Namespace, folder: Path) -> list[Line]:
    """Requests a second of each contender, and ours beside the others'.

    No one can be faster than `--concurrency` in 50 ms, which is 2,560 a second for 128.
    """
    count = options.requests
    labels = {
        "bare": "bare openai.AsyncOpenAI, no ledger",
        "ours": "Engine, with its ledger",
        "curator": f"curator {peers.version('curator')}, its openai backend",
        "curator-litellm": f"curator {peers.version('curator')}, its litellm backend",
        "distilabel": f"distilabel {peers.version('distilabel')}",
    }
    pythons = {name: peers.install(name, options.peers_venv.expanduser()) for name in names if name in peers.NAMES}
    pythons |= {name: Path(sys.executable) for name in ("bare", "ours")}
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps(_prompts(count)))
    found: dict[str, list[dict[str, Any] | None]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            python = pythons[name]
            if python is not None and None not in found[name]:  # what has failed once is not tried again
                home = folder / f"{name}-{number}"
                home.mkdir()
                found[name].append(_run(name, python, prompts, options.concurrency, home))
    lines: list[Line] = [(f"asking {count:,} prompts, {options.concurrency} in flight", "requests/s", "")]
    speeds: dict[str, tuple[float, float]] = {}  # by the asker's clock, by the endpoint's
    for name in names:
        runs = [run for run in found[name] if run is not None]
        if not runs or len(runs) < len(found[name]):
            lines.append((labels[name], "not installed" if pythons[name] is None else "failed", ""))
            continue
        values = [count / run["seconds"] for run in runs]
        served = [count / run["busy_s"] for run in runs]
        speeds[name] = statistics.median(values), statistics.median(served)
        each = ", ".join(f"{value:,.0f}" for value in values)
        note = f"{max(run['most_in_flight'] for run in runs)} in flight"
        if any(run["requests"] != count for run in runs):  # a peer that asks more or less than it was told to
            note += f", {runs[-1]['requests']:,} requests came"
        measured = f"{speeds[name][0]:,.0f} ({each}); by the endpoint's clock {speeds[name][1]:,.0f}; {note}"
        lines.append((labels[name], measured, ""))
    for name, wanted in {"bare": "0.85", "curator": "3", "curator-litellm": "", "distilabel": ""}.items():
        if name in speeds and "ours" in speeds:
            ratio, served_ratio = (ours / theirs for ours, theirs in zip(speeds["ours"], speeds[name], strict=True))
            lines.append((f"Engine / {name}", f"{ratio:.2f}; by the endpoint's clock {served_ratio:.2f}", wanted))
    endpoint = max((run["cpu_s"] / run["busy_s"] for runs in found.values() for run in runs if run), default=0.0)
    lines.append(("the endpoint's process, at its busiest", f"{endpoint:.0%} of a processor", ""))
    return lines


def _prompts(count: int) -> list[str]:
    """Distinct prompts of about 200 characters."""
    rng = random.Random(0)
    words = [word for word in _SEEDS.read_text(encoding="utf-8").split() if word.isascii() and word.isalpha()]
    return [f"{number}: {' '.join(rng.choices(words, k=60))}"[:_PROMPT_CHARACTERS] for number in range(count)]


def _run(name: str, python: Path, prompts: Path, concurrency: int, home: Path) -> dict[str, Any] | None:
    """One contender's run in a fresh process, against a fresh endpoint; none when it fails."""
    script = "peers.py" if name in peers.NAMES else "engine.py"
    result, log = home / "result.json", home / "log.txt"
    with _endpoint() as url, log.open("w") as said:
        environment = _environment(home) | {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "sk-bench"}
        if name in peers.NAMES:
            environment |= peers.environment(home)
        command = [python, _FOLDER / script, name, prompts, str(concurrency), result]
        process = subprocess.Popen(
            command,
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            code: int | str = process.wait(_RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = "too slow"
        finally:
            with suppress(ProcessLookupError):  # it, where it still runs, and what it has started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if code != 0:
            print(f"{name} failed ({code}):\n{_tail(log)}", file=sys.stderr)
            return None
        run: dict[str, Any] = json.loads(peers.fetch(f"{url}/stats")) | json.loads(result.read_text())
    count = len(json.loads(prompts.read_text()))
    print(f"{name}: {count / run['seconds']:,.0f} requests/s {run}", file=sys.stderr)
    if run["answers"] != count:
        print(f"{name} failed: {run['answers']} answers to {count} prompts\n{_tail(log)}", file=sys.stderr)
        return None
    if name in ("bare", "ours"):
        assert run["requests"] == count, run
        assert run["most_in_flight"] >= 0.9 * min(concurrency, count), run
    return run


@contextmanager
def _endpoint() -> Iterator[str]:
    command = [sys.executable, _FOLDER / "server.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()  # which ends it


def _environment(home: Path) -> dict[str, str]:
    """This one, without proxies, and without the user's own ledger."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | {"GPT4_INSTRUCT_HOME": str(home)}


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _bare(concurrency: int) -> peers.Ask:
    import openai

    _import_openai()

    async def ask_all(prompts: list[str]) -> int:
        answered = 0
        left = iter(prompts)
        # The engine's client, retries left out as in the engine.
        async with openai.AsyncOpenAI(max_retries=0, http_client=openai.DefaultAioHttpClient()) as client:

            async def worker() -> None:
                nonlocal answered
                for prompt in left:
                    response = await client.chat.completions.create(
                        model=MODEL,
                        messages=[{"role": "user", "content": prompt}],
                        max_tokens=512,
                        temperature=1.0,
                        top_p=1.0,
                    )
                    answered += bool(response.choices[0].message.content)

            await asyncio.gather(*(worker() for _ in range(concurrency)))
        return answered

    return lambda prompts: asyncio.run(ask_all(prompts))


def _ours(concurrency: int) -> peers.Ask:
    from gpt4_instruct.generation.engine import Engine
    from gpt4_instruct.generation.ledger import Ledger
    from gpt4_instruct.records import Message, Request, Sampling
    from gpt4_instruct.teachers.base import connect

    _import_openai()
    teacher = connect(f"openai:{MODEL}")
    parameters = Sampling(max_tokens=512).parameters()

    def ask_all(prompts: list[str]) -> int:
        ledger = Ledger(Path(os.environ["GPT4_INSTRUCT_HOME"], "ledger.sqlite3"))
        engine = Engine(ledger, concurrency)

        async def work(prompt: str) -> str:
            request = Request(teacher.endpoint, teacher.model, (Message("user", prompt),), parameters)
            return (await engine.ask(teacher, request)).text

        answered = sum(bool(text) for text in engine.stream(work, prompts))
        ledger.close()
        return answered

    return ask_all


def _import_openai() -> None:
    """The client imports much of itself when it is first used."""
    import openai

    _ = openai.AsyncOpenAI(http_client=openai.DefaultAioHttpClient()).chat.completions.with_raw_response


# --- memory, and going on where a run stopped -------------------------------------------------------------------------


def long_run(large: int, folder: Path) -> list[Line]:
    """Peak memory of asking few and very many requests; then, of the ledger with very many, how a resumed run starts."""
    peaks = {}
    for count in (_SMALL, large):
        run = _child("fill", folder, count)
        peaks[count] = run["peak_mb"]
        assert run["asked"] == run["out"] == count, run
    growth = f"{peaks[_SMALL]:.0f} MB -> {peaks[large]:.0f} MB ({peaks[large] / peaks[_SMALL]:.2f}x)"
    speed = f"{large / run['seconds']:,.0f} requests/s"
    front = _child("front", folder, large)
    again = _child("again", folder, large)
    assert (again["asked"], again["out"]) == (1, large + 1), again
    resumed = f"resumed run, {large:,} settled"
    return [
        (f"peak memory, {_SMALL:,} -> {large:,} requests", growth, "300 MB, about 1x"),
        ("the engine alone, its teacher answering at once", speed, ""),
        (f"{resumed}: a new request in front reaches the teacher", f"{front['reached_s']:.2f} s", "10 s"),
        (f"{resumed}: the first answer is out", f"{again['first_s']:.2f} s", "10 s"),
        (
            f"{resumed}: all are out again",
            f"{again['old_s']:.1f} s ({large / again['old_s']:,.0f} requests/s), {again['peak_mb']:.0f} MB",
            "",
        ),
        (f"{resumed}: a new request behind all reaches the teacher", f"{again['reached_s']:.1f} s", ""),
    ]


def _child(part: str, folder: Path, count: int) -> dict[str, Any]:
    """One of the functions below in a fresh process.

    Peak memory is counted from the parent's, as a child starts as its copy: so nothing large is imported here.
    """
    ledger, result = folder / f"ledger-{count}.sqlite3", folder / f"{part}-{count}.json"
    _forget(ledger)
    command = [sys.executable, _FOLDER / "engine.py", part, ledger, str(count), result]
    subprocess.run(command, check=True, cwd=folder, env=_environment(folder), timeout=_LARGE_TIMEOUT_S)
    run: dict[str, Any] = json.loads(result.read_text())
    print(f"{part} {count:,}: {run}", file=sys.stderr)
    return run


def _forget(file: Path) -> None:
    """Puts a file out of the system's cache, where that can be asked for: a run is mostly resumed some time later."""
    if file.exists() and hasattr(os, "posix_fadvise"):
        descriptor = os.open(file, os.O_RDWR)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _fill(ledger: Path, count: int) -> dict[str, Any]:
    return _stream(ledger, range(count))


def _front(ledger: Path, count: int) -> dict[str, Any]:
    return _stream(ledger, (-1, *range(_SMALL)), most=1)


def _again(ledger: Path, count: int) -> dict[str, Any]:
    return _stream(ledger, range(count + 1))


def _stream(ledger_file: Path, numbers: Iterable[int], most: int | None = None) -> dict[str, Any]:
    """Asks a request for each number, and drops the answers; ends after the first `most`.

    The clock starts before anything of the package is imported.
    """
    started = time.monotonic()
    from gpt4_instruct.generation.engine import Engine
    from gpt4_instruct.generation.ledger import Ledger
    from gpt4_instruct.records import Message, Request, Sampling
    from gpt4_instruct.teachers.base import Teacher, completion

    class Instant(Teacher):
        spec, endpoint, model = "instant", "instant", MODEL
        reached_s = 0.0  # when the first request was here

        async def ask(self, request: Request) -> str:
            self.reached_s = self.reached_s or time.monotonic() - started
            return completion(_ANSWER, model=self.model, prompt_tokens=52, completion_tokens=21)

    teacher = Instant()
    parameters = Sampling(max_tokens=512).parameters()
    ledger = Ledger(ledger_file)
    engine = Engine(ledger, 128)

    async def work(number: int) -> bool:
        prompt = f"{number}: {_FILLER}"
        request = Request(teacher.endpoint, teacher.model, (Message("user", prompt),), parameters)
        return bool((await engine.ask(teacher, request)).text)

    # first_s: the first answer is out; old_s: all but the last are, which is what an earlier run had settled.
    first_s = old_s = now_s = 0.0
    out = 0
    results = engine.stream(work, iter(numbers))
    for _ in results:
        old_s, now_s = now_s, time.monotonic() - started
        first_s = first_s or now_s
        out += 1
        if out == most:
            break
    results.close()  # type: ignore[attr-defined]
    ledger.close()
    return {
        "asked": engine.asked,
        "out": out,
        "first_s": first_s,
        "old_s": old_s,
        "reached_s": teacher.reached_s,
        "seconds": time.monotonic() - started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


_FILLER = "Name the largest planet of the solar system, and say how it compares with the others. " * 2
_ANSWER = "Jupiter is the largest planet of the solar system: more than twice as heavy as all the others together."


if __name__ == "__main__":
    parts: dict[str, Callable[[Path, int], dict[str, Any]]] = {"fill": _fill, "front": _front, "again": _again}
    asked = {"bare": _bare, "ours": _ours}
    if sys.argv[1:2] and sys.argv[1] in parts:
        part, ledger_file, count, result_file = sys.argv[1:]
        Path(result_file).write_text(json.dumps(parts[part](Path(ledger_file), int(count))))
    elif sys.argv[1:2] and sys.argv[1] in asked:
        peers.contend(asked, sys.argv[1:])
    else:
        main()
