"""All four splits from the packaged seeds, made by a small model on this computer: no key, no network.

    python examples/quickstart.py [--rows 32] [--out quickstart-data]

A second run asks nothing again: every answer is in the ledger.
"""

from __future__ import annotations

import argparse
import time

from datasets import disable_progress_bars, load_dataset

from gpt4_instruct import build, show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32, help="seeds to answer in English; the others take half")
    parser.add_argument("--out", default="quickstart-data", help="the folder")
    options = parser.parse_args()

    # SmolLM2 is very small: at the paper's temperature of 1 it rambles.
    settings = {
        "out": options.out,
        "teacher": "local:smollm2",
        "temperature": 0.3,
        "max_tokens": 192,
        "overwrite": True,
    }
    half = max(1, options.rows // 2)
    started = time.monotonic()
    results = [
        build("english", limit=options.rows, **settings),
        build("unnatural", limit=options.rows, **settings),  # the same questions: answered from the ledger
        build("comparison", limit=half, **settings),  # the same teacher twice, so its first answer is there, too
        build("chinese", limit=half, **settings),
    ]
    minutes = (time.monotonic() - started) / 60

    show(options.out, rows=2)
    disable_progress_bars()
    print(f"\nBuilt in {minutes:.1f} minutes and loaded back with load_dataset({options.out!r}, ...):")
    for result in results:
        loaded = load_dataset(options.out, result.split, split="train").num_rows if result.rows else 0
        reasons = ", ".join(f"{count} {reason}" for reason, count in result.rejected.items()) or "none"
        print(f"  {result.split:<11}{loaded:>3} rows accepted; rejected: {reasons}")

    chinese = results[-1]
    others = "; the others passed checks that know nothing of sense" if chinese.rows else ""
    print(
        f"\nSmolLM2 knows no Chinese: {sum(chinese.rejected.values())} of its {half} answers to Chinese instructions "
        f"were rejected{others}.\nFor Chinese worth having, name another teacher:\n\n"
        "  OPENAI_API_KEY=... gpt4-instruct build chinese --teacher openai:gpt-4o --out my-data"
    )


if __name__ == "__main__":
    main()
