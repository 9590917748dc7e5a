"""What a dataset of so many rows takes, from the paper's 52,000 to a thousand million: dollars, hours, bytes.

    python tests/benchmarks/scale.py [--measure]     the table; with what it rests on measured anew
    python tests/benchmarks/simulated.py             quotas, workers and permits in simulated time

Tokens are those of the real rows where they are present (../shared/data), counted as builds count them. Everything below
that was measured was measured on two slow cores; what was not says whose number it is.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from gpt4_instruct.generation.pricing import count_tokens, load_prices
from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.training.memory import LLAMA_7B
from gpt4_instruct.training.recipes import SFT_RECIPES
from tests.benchmarks.novelty import SAMPLES, SEEDS, corpus

SCALES = (52_000, 520_000, 5_200_000, 52_000_000, 1_000_000_000)
OPENAI = "https://api.openai.com/v1"
MODELS = ("gpt-4o", "gpt-4o-mini")
_DAY_S, _HOUR_S = 86_400, 3_600
MAX_TOKENS = 512  # of an answer: a quota at OpenAI's counts them when a request arrives, whatever becomes of it
_TOKENS_A_CHAT = 9  # around a message, and before the reply: as `pricing.prompt_tokens` counts

# Requests and tokens a minute of OpenAI's first and fifth tier, as guides of 2025 give them (inference.net, ai-buzz.com):
# they change, and an account's own are in its settings.
QUOTAS = {
    "gpt-4o": ((500, 30_000), (10_000, 30_000_000)),
    "gpt-4o-mini": ((500, 200_000), (30_000, 150_000_000)),
}
QUOTA_USED = 0.97  # of a quota that binds; see `simulated.py` and tests/benchmarks/limits.py
BATCH_S = _DAY_S  # the Batch API answers within a day what its queue takes
# vLLM, an 8B model in bfloat16 on an H100, as one third party measured it (morphllm.com, 2026: 12,500), less a fifth:
# nobody's rows are all of one length.
OPEN_TOKENS_S = 10_000
H100_FLOPS, MFU = 989e12, 0.4  # dense bfloat16, by its data sheet; the share is an assumption


@dataclass(frozen=True)
class Costs:
    """What one row or one request costs here. The defaults are what `measure` found when this was written.

    Attributes:
        parquet_b: bytes of a row in a split's Parquet file, provenance and all.
        ledger_b: bytes of a request in the ledger: itself, and the response as it came.
        novelty_b: bytes of memory of an instruction in the index of Alpaca's rule.
        novelty_s, audit_s: of one core, for a row at 40,000 and 10,000 rows; novelty's grows with those before it.
        commit_s: of a ledger's commit, however many requests it covers.
        merge_s: of a request that a worker's ledger hands to the run's.
        request_s: of one core, for a request: client, ledger and engine (tests/benchmarks/engine.py: 920 a second).
    """

    parquet_b: float = 555.0
    ledger_b: float = 1_845.0
    novelty_b: float = 250.0
    novelty_s: float = 0.000_12
    audit_s: float = 0.001_1
    commit_s: float = 0.000_02
    merge_s: float = 0.000_012
    request_s: float = 1 / 920


def sample() -> list[dict[str, str]]:
    """Real rows, or the packaged seeds."""
    file = SAMPLES / "alpaca_gpt4_en_500.json"
    if file.is_file():
        return list(json.loads(file.read_text(encoding="utf-8")))
    seeds = [json.loads(line) for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    return [
        {"instruction": each["instruction"], "input": each.get("input", ""), "output": each["label"]} for each in seeds
    ]


def tokens_a_row(rows: Sequence[dict[str, str]]) -> tuple[float, float]:
    """Mean tokens of a prompt and of its answer, as builds estimate them."""
    asked = sum(count_tokens(render_alpaca(each["instruction"], each["input"])) + _TOKENS_A_CHAT for each in rows)
    return asked / len(rows), sum(count_tokens(each["output"]) for each in rows) / len(rows)


# --- the table --------------------------------------------------------------------------------------------------------


def plan(rows: int, prompt: float, answer: float, costs: Costs) -> list[tuple[str, str]]:
    """What so many rows take, line by line."""
    prices = load_prices()
    lines = [("tokens, prompts + answers", f"{big(rows * prompt)} + {big(rows * answer)}")]
    for model in MODELS:
        price = prices.find(OPENAI, model)
        assert price is not None, model
        online, batch = (price.usd(rows * prompt, rows * answer, batch=each) for each in (False, True))
        lines.append((f"{model}, online / by the batch", f"${big(online)} / ${big(batch)}"))
    for model in MODELS:
        tiers = [span(online_s(rows, prompt + MAX_TOKENS, *quota)) for quota in QUOTAS[model]]
        lines.append((f"{model}, its first / fifth tier", " / ".join(tiers)))
    lines += [
        ("one process (920 requests/s a core) could ask in", span(rows * costs.request_s)),
        ("an open 8B teacher", f"{big(rows * answer / OPEN_TOKENS_S / _HOUR_S)} H100 hours"),
        ("Parquet / ledger", f"{size(rows * costs.parquet_b)} / {size(rows * costs.ledger_b)}"),
        ("merging workers' ledgers, one core", span(rows * costs.merge_s)),
        ("audit, one core", span(rows * costs.audit_s)),
        ("novelty by the exact index, if it did not slow down", span(rows * costs.novelty_s)),
        ("novelty's index, in one memory", size(rows * costs.novelty_b)),
        (
            "tuning 7B on it, 3 passes / 1 pass",
            f"{tuning(rows, prompt, answer, 3)} / {tuning(rows, prompt, answer, 1)}",
        ),
    ]
    return lines


def online_s(rows: float, tokens: float, requests_per_minute: float, tokens_per_minute: float) -> float:
    """Seconds in which a quota lets so many rows be asked.

    >>> round(online_s(1_000, 100, 500, 30_000))
    206
    """
    return 60 * max(rows / requests_per_minute, rows * tokens / tokens_per_minute) / QUOTA_USED


def tuning(rows: float, prompt: float, answer: float, passes: int) -> str:
    """GPU hours: 6 N FLOP a token (Kaplan et al., 2020), and a third more for activations computed twice."""
    recipe = SFT_RECIPES["llama-gpt4"]
    tokens = rows * passes * min(recipe.max_length, prompt + answer)
    flops = tokens * LLAMA_7B.parameters * (8 if recipe.checkpointing else 6)
    return f"{big(flops / (H100_FLOPS * MFU) / _HOUR_S)} H100 hours"


def big(number: float) -> str:
    """Three digits and a unit.

    >>> [big(each) for each in (8.123, 521.4, 52_000, 8_330_000, 2.2e12)]
    ['8.1', '521', '52.0 k', '8.33 M', '2,200 bn']
    """
    for unit, divisor in (("bn", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= divisor:
            found = number / divisor
            return (
                f"{found:,.0f} {unit}"
                if found >= 100
                else f"{found:.3g} {unit}"
                if unit == "M"
                else f"{found:.1f} {unit}"
            )
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}"


def size(bytes_: float) -> str:
    """Bytes in MB, GB or TB."""
    unit, divisor = next(
        each for each in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)) if bytes_ >= each[1] or each[0] == "MB"
    )
    return f"{bytes_ / divisor:,.1f} {unit}"


def span(seconds: float) -> str:
    """A duration in the unit one would say it in."""
    for unit, length in (("years", 365 * _DAY_S), ("days", _DAY_S), ("h", _HOUR_S), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def show_table(lines: Sequence[tuple[str, ...]]) -> None:
    """Prints rows, the first of them the head, as Markdown."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


# --- what it rests on -------------------------------------------------------------------------------------------------


def measure(rows: list[dict[str, str]], count: int = 10_000) -> Costs:
    """The costs, measured anew; times are of the processor's, so that a busy machine tells the same, but for commits."""
    from gpt4_instruct import audit

    texts = corpus(count)
    answers = [rows[number % len(rows)]["output"] for number in range(count)]
    with tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as name:
        folder = Path(name)
        parquet_b = _parquet(rows, folder)
        ledger_b, commit_s, merge_s = _ledgers(texts, answers, folder)
        novelty_b, novelty_s = _novelty(4 * count)
        made = [
            {"instruction": text, "input": "", "output": answer} for text, answer in zip(texts, answers, strict=True)
        ]
        audit_s = _cpu_s(lambda: audit(made, out=folder / "audit")) / count
    return Costs(parquet_b, ledger_b, novelty_b, novelty_s, audit_s, commit_s, merge_s)


def _cpu_s(work: Callable[[], Any]) -> float:
    def spent() -> float:
        found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in found)

    before = spent()
    work()
    return spent() - before


def _parquet(rows: list[dict[str, str]], folder: Path) -> float:
    from hashlib import sha256

    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    told = [
        {
            **{name: each[name] for name in ("instruction", "input", "output")},
            "metadata": {
                "id": f"english-{number}",
                "origin": f"released:english:{number}",
                "teacher": "openai:gpt-4o",
                "model": "gpt-4o-2024-08-06",
                "finish_reason": "stop",
                "prompt_tokens": count_tokens(each["instruction"]),
                "completion_tokens": count_tokens(each["output"]),
                "request": sha256(each["instruction"].encode()).hexdigest(),
            },
        }
        for number, each in enumerate(rows)
    ]
    Dataset.from_list(told).to_parquet(str(folder / "rows.parquet"))
    return (folder / "rows.parquet").stat().st_size / len(rows)


def _ledgers(texts: list[str], answers: list[str], folder: Path) -> tuple[float, float, float]:
    """Bytes of a request, seconds of a commit, and seconds of a request that another ledger takes over."""
    from gpt4_instruct.generation.ledger import Ledger
    from gpt4_instruct.records import Message, Request, Sampling, content_key
    from gpt4_instruct.teachers.base import completion

    ledger = Ledger(folder / "worker.sqlite3")
    ledger.join()
    parameters = Sampling(max_tokens=512).parameters()
    commits: list[float] = []
    for number, (text, answer) in enumerate(zip(texts, answers, strict=True)):
        request = Request(OPENAI, "gpt-4o", (Message("user", render_alpaca(text, "")),), parameters)
        content = request.to_json()
        key = content_key(content)
        if ledger.claim(key, request, content, "openai:gpt-4o"):
            ledger.settle(key, completion(answer, model="gpt-4o", prompt_tokens=70, completion_tokens=160), 70, 160)
        if number % 32 == 0:
            began = time.perf_counter()
            ledger.commit()
            commits.append(time.perf_counter() - began)
    ledger.commit()
    ledger.close()
    whole = Ledger(folder / "whole.sqlite3")
    whole.join()
    merge_s = _cpu_s(lambda: whole.absorb(folder / "worker.sqlite3")) / len(texts)
    whole.close()
    return (folder / "worker.sqlite3").stat().st_size / len(texts), sorted(commits)[len(commits) // 2], merge_s


def _novelty(count: int) -> tuple[float, float]:
    """Bytes of memory, and seconds, of a text in the index; in a process of its own."""
    import subprocess

    code = (
        "import sys, time, re; sys.path.insert(0, sys.argv[1])\n"
        "from tests.benchmarks.novelty import corpus\n"
        "from gpt4_instruct.quality.novelty import NoveltyIndex, kept\n"
        "rss = lambda: int(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1]) * 1024\n"
        "kept(corpus(500)); texts = corpus(int(sys.argv[2])); index = NoveltyIndex(0.7)\n"
        "before = rss()\n"
        "for text in texts: index.add(text)\n"
        "grown = rss() - before; began = time.process_time(); kept(texts)\n"
        "print(grown / len(texts), (time.process_time() - began) / len(texts))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parents[2]), str(count)],
        check=True,
        capture_output=True,
        text=True,
    )
    bytes_, seconds = map(float, done.stdout.split())
    return bytes_, seconds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure anew what the table rests on")
    options = parser.parse_args()
    rows = sample()
    costs = measure(rows) if options.measure else Costs()
    prompt, answer = tokens_a_row(rows)
    print(f"{prompt:.0f} tokens a prompt, {answer:.0f} an answer; {costs}\n")
    columns = [plan(each, prompt, answer, costs) for each in SCALES]
    head = ("rows", *(f"{each:,}" for each in SCALES))
    show_table([head, *((line[0][0], *(each[1] for each in line)) for line in zip(*columns, strict=True))])


if __name__ == "__main__":
    main()
