"""What the engine is measured beside: other libraries that make data with a model behind the OpenAI API.

`tests/benchmarks/engine.py` imports this file to install each peer into a virtual environment of its own, and runs it
there, in a fresh process::

    ENVIRONMENT/bin/python tests/benchmarks/peers.py curator prompts.json 128 result.json

So it needs the standard library only. Every peer has the settings that made it fastest here within the same limit of
requests in flight; its own cache of answers is off, and so is whatever it would send to its makers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from server import MODEL

NAMES = ("curator", "curator-litellm", "distilabel")
_PACKAGES = {
    "curator": "bespokelabs-curator",
    "curator-litellm": "bespokelabs-curator",
    "distilabel": "distilabel",
    "trl": "trl",  # of tests/benchmarks/training.py
}
_REQUIREMENTS = Path(__file__).with_name("peers-requirements.txt")
_INSTALL_TIMEOUT_S = 900

# What curator counts tokens with, to keep to its own limit of tokens a minute. The real one may download a vocabulary;
# this one is cheaper, too, which favours curator.
_TIKTOKEN = """
class Encoding:
    name = "stub"

    def encode(self, text, **options):
        return range(len(text) // 4)


def get_encoding(name):
    return Encoding()


def encoding_for_model(name):
    return Encoding()
"""

# Given the prompts, asks them all and says how many answers there are.
Ask = Callable[[list[str]], int]


# --- where they are installed ----------------------------------------------------------------------------------------


def install(name: str, folder: Path) -> Path | None:
    """The python of a peer's virtual environment, which is made when it is not there; none when that fails."""
    home = folder / _PACKAGES[name]
    python, done = home / "bin/python", home / ".installed"
    requirements = _requirements(name)
    if done.exists() and done.read_text() == " ".join(requirements):
        return python
    print(f"installing {requirements[0]} into {home}", file=sys.stderr)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        make = [sys.executable, "-m", "venv", "--clear", str(home)]
        subprocess.run(make, check=True, capture_output=True, timeout=_INSTALL_TIMEOUT_S)
        command = [str(python), "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()
        print(f"{name} cannot be installed: {said[-1] if said else error}", file=sys.stderr)
        return None
    done.write_text(" ".join(requirements))
    return python


def _requirements(name: str) -> list[str]:
    for line in _REQUIREMENTS.read_text().splitlines():
        if re.match(rf"{_PACKAGES[name]}\b", line):
            return line.split()
    raise ValueError(f"no line for {name} in {_REQUIREMENTS}")


def version(name: str) -> str:
    """The version that is pinned."""
    return _requirements(name)[0].partition("==")[2]


def environment(folder: Path) -> dict[str, str]:
    """What a peer needs in its environment, so that it writes into `folder` only and talks to the endpoint only."""
    stubs = folder / "stubs"
    stubs.mkdir(exist_ok=True)
    (stubs / "tiktoken.py").write_text(_TIKTOKEN)
    return {
        "HOME": str(folder),
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(stubs),
        "PYTHONWARNINGS": "ignore",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "CURATOR_CACHE_DIR": str(folder / "curator"),
        "CURATOR_DISABLE_CACHE": "true",
        "CURATOR_VIEWER": "0",
        "TELEMETRY_ENABLED": "false",
        "DISTILABEL_CACHE_DIR": str(folder / "distilabel"),
        "DISTILABEL_LOG_LEVEL": "WARNING",
    }


# --- one run, in a process of its own --------------------------------------------------------------------------------


def contend(contenders: dict[str, Callable[[int], Ask]], arguments: list[str]) -> None:
    """Runs one contender and writes how long its asking took; what it needs before is done before the clock starts."""
    name, prompts_file, concurrency, result_file = arguments
    prompts = json.loads(Path(prompts_file).read_text())
    ask = contenders[name](int(concurrency))
    fetch(os.environ["OPENAI_BASE_URL"].removesuffix("/v1") + "/reset")
    started = time.monotonic()
    answers = ask(prompts)
    seconds = time.monotonic() - started
    Path(result_file).write_text(json.dumps({"seconds": seconds, "answers": answers}))


def fetch(url: str) -> str:
    """A page of the endpoint; no proxy stands before this computer itself."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as response:
        return str(response.read(), "utf-8")


def _curator(backend: str, concurrency: int) -> Ask:
    from bespokelabs import curator

    # Two of its backends speak to a base URL. "openai" posts by aiohttp itself; "litellm", which it takes for models
    # whose names it does not know, is the slower. Its rich display, the default, is faster than its plain one. The
    # limits a minute are its own pacing, which is always on: these are out of reach.
    llm = curator.LLM(
        model_name=MODEL if backend == "openai" else f"openai/{MODEL}",
        backend=backend,
        generation_params={"max_tokens": 512, "temperature": 1.0, "top_p": 1.0},
        backend_params={
            "base_url": os.environ["OPENAI_BASE_URL"],
            "api_key": os.environ["OPENAI_API_KEY"],
            "max_concurrent_requests": concurrency,
            "max_requests_per_minute": 10**9,
            "max_tokens_per_minute": 10**12,
            "max_retries": 0,
        },
    )
    return lambda prompts: len(llm(prompts).dataset)


def _distilabel(concurrency: int) -> Ask:
    from distilabel.models.llms import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps.tasks import TextGeneration

    # It asks a batch at once and waits for all of it, so the batch is the number in flight. Two replicas of the step
    # with half the batch each were no faster. What it does before its first request includes starting processes.
    llm = OpenAILLM(
        model=MODEL,
        base_url=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        max_retries=0,
        generation_kwargs={"max_new_tokens": 512, "temperature": 1.0, "top_p": 1.0},
    )

    def ask(prompts: list[str]) -> int:
        with Pipeline(name="bench") as pipeline:
            TextGeneration(llm=llm, input_batch_size=concurrency, add_raw_input=False, add_raw_output=False)
        distiset = pipeline.run(dataset=[{"instruction": prompt} for prompt in prompts], use_cache=False)
        return sum(text is not None for text in distiset["default"]["train"]["generation"])

    return ask


if __name__ == "__main__":
    contend(
        {
            "curator": partial(_curator, "openai"),
            "curator-litellm": partial(_curator, "litellm"),
            "distilabel": _distilabel,
        },
        sys.argv[1:],
    )
