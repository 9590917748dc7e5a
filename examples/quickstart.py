"""From instructions to a tuned model, on this computer: no key, no network.

    python examples/quickstart.py [--rows 32] [--out quickstart-data] [--model quickstart-model] [--engine ray]

All four splits are built from the packaged seeds by a small model, which is then tuned on the seeds' own references and
asked what it was not taught, before and after; one page tells it all. A second run asks and trains nothing again: every
answer is in the ledger.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

from datasets import disable_progress_bars, load_dataset

from gpt4_instruct import SFTRecipe, answer, build, report, rouge, show, train_sft
from gpt4_instruct.chat import chat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32, help="seeds to answer in English; the others take half")
    parser.add_argument("--out", default="quickstart-data", help="the folder for the data")
    parser.add_argument("--model", default="quickstart-model", help="the folder for the model")
    parser.add_argument("--evaluation", default="quickstart-evaluation", help="the folder for answers and the page")
    parser.add_argument("--steps", type=int, default=8, help="of tuning")
    parser.add_argument("--questions", type=int, default=18, help="to evaluate on")
    parser.add_argument("--engine", default="local", help="local, or ray: the data is built on a Ray cluster")
    options = parser.parse_args()

    # SmolLM2 is very small: at the paper's temperature of 1 it rambles.
    settings = {
        "out": options.out,
        "teacher": "local:smollm2",
        "temperature": 0.3,
        "max_tokens": 192,
        "overwrite": True,
        "engine": options.engine,
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
    tune(options.out, options.model, options.steps)
    evaluate(options.model, Path(options.evaluation), options.questions)
    page = report([options.out, options.model, options.evaluation], Path(options.evaluation, "report.html"))
    print(f"\nAll of it on one page:  {page}\nTalk with the model:    gpt4-instruct chat {options.model}")


def tune(data: str, folder: str, steps: int) -> None:
    """Tunes the same small model on the reference answers of the seeds, which are short and right, and asks it."""
    if not Path(folder, "training.json").exists():
        rows = load_dataset(data, "unnatural", split="train")
        taught = [{"instruction": row["instruction"], "input": row["input"], "output": row["label"]} for row in rows]
        print(f"\nTuning SmolLM2 on {len(taught)} reference answers, {steps} steps:", flush=True)
        recipe = SFTRecipe(
            model="smollm2",
            max_length=256,
            epochs=100,
            max_steps=steps,
            learning_rate=1e-4,
            batch_size=8,
            device_batch=8,
            precision="fp32",
            held_out=0.1,
        )
        trained = train_sft(taught, folder, recipe=recipe)
        losses = [entry["eval_loss"] for entry in trained.facts["log"] if "eval_loss" in entry]
        print(f"  loss on rows it did not see: {losses[0]:.2f} before, {losses[-1]:.2f} after")
    question = "What is bread made of?"
    for name, model in (("before", "smollm2"), ("after", folder)):
        print(f"\n{name:<7}> {question}", flush=True)
        chat(model, temperature=0.0, max_tokens=60, input=io.StringIO(f"{question}\n"))


def evaluate(tuned: str, folder: Path, questions: int) -> None:
    """Asks both models the packaged questions, and measures the answers to those that have a right one."""
    print(f"\n{questions} questions that it was not taught, by ROUGE-L against the right answers where there are any:")
    for name, model in (("before", "smollm2"), ("after", tuned)):
        answers = folder / f"{name}.jsonl"
        answer("small", model, answers, temperature=0, max_tokens=64, limit=questions, overwrite=True)
        found = rouge(answers, folder / f"{name}.rouge.json", overwrite=True)
        score = found["buckets"][-1]["rougeL"]
        interval = "" if score["low"] is None else f" [{score['low']:.2f}, {score['high']:.2f}]"  # of ten or more
        print(f"  {name:<7}{score['f1']:.2f}{interval} of {found['n']}")
    print(
        "For judges that can judge:  gpt4-instruct judge "
        f"--answers {folder}/after.jsonl --baseline {folder}/before.jsonl --teacher openai:gpt-4o --out judged.jsonl"
    )


if __name__ == "__main__":
    main()
