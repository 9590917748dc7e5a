"""The vLLM teacher against a stand-in with vLLM's names and signatures; and with vLLM itself, where it is installed."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.errors import RequestRefusedError, RunStoppedError, TransientError, UsageError
from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.prompts.tasks import SCORES, render_alpaca
from gpt4_instruct.records import Message, Request
from gpt4_instruct.teachers.base import connect
from tests.tiny import tiny_tokenizer

pytest.importorskip("transformers")

STAND_INS = Path(__file__).with_name("stand_ins")
SCHEMA = {"type": "object", "properties": {"made": {"type": "number"}}, "required": ["made"]}
CHAT = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}{% endfor %}<s>assistant:"
needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The stand-in as vllm, and the engines that are started."""

    def forget() -> None:
        for name in [each for each in sys.modules if each == "vllm" or each.startswith("vllm.")]:
            del sys.modules[name]

    forget()
    monkeypatch.syspath_prepend(str(STAND_INS))
    for name in ("VLLM_LOGGING_LEVEL", "VLLM_LOGGING_STREAM", "VLLM_WORKER_MULTIPROC_METHOD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    from vllm.v1.engine.async_llm import AsyncLLM

    yield AsyncLLM.started
    assert not any(each.running for each in AsyncLLM.started), "every engine is ended"
    forget()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of a model is read here: its config, its tokenizer, and 512 tokens of context."""
    found = tmp_path_factory.mktemp("models") / "tiny"
    tiny_tokenizer().save_pretrained(found)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 512}
    (found / "config.json").write_text(json.dumps(config))
    return found


def question(teacher: Any, text: str, **fields: Any) -> Request:
    parameters = {"temperature": fields.pop("temperature", 1.0), "max_tokens": fields.pop("max_tokens", 12)}
    return Request(teacher.endpoint, teacher.model, (Message("user", text),), parameters, **fields)


def ask(teacher: Any, *requests: Request) -> list[Any]:
    """Asks all at once on a loop of their own; each answer is the response's body, or an error."""

    async def run() -> list[Any]:
        try:
            return await asyncio.gather(*(teacher.ask(each) for each in requests), return_exceptions=True)
        finally:
            await teacher.close()

    return [json.loads(each) if isinstance(each, str) else each for each in asyncio.run(run())]


def text_of(body: Any) -> str:
    return str(body["choices"][0]["message"]["content"])


# --- which model -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_what_is_missing_is_said_with_both_ways_out() -> None:
    with pytest.raises(UsageError) as caught:
        connect("vllm:org/model")
    said = str(caught.value)
    assert "pip install 'vllm" in said and "vllm serve MODEL" in said and "openai:MODEL" in said and "\n" not in said


def test_a_wrong_model_is_one_line(engines: list[Any], tmp_path: Path) -> None:
    for argument in ("", "./no-such-folder", "a/b/c"):
        with pytest.raises(UsageError, match="vllm:ORG/NAME") as caught:
            connect(f"vllm:{argument}")
        assert "\n" not in str(caught.value) and "local:" not in str(caught.value)
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(UsageError, match="local:"):
        connect(f"vllm:{tmp_path}/m.gguf")
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForSequenceClassification"]}')
    with pytest.raises(UsageError, match="reward model"):
        connect(f"vllm:{tmp_path}")


def test_the_identity_is_that_of_the_weights_and_shows_no_folder(engines: list[Any], folder: Path) -> None:
    teacher = connect(f"vllm:{folder}")
    assert (teacher.spec, teacher.endpoint) == ("vllm:tiny", "vllm")
    assert teacher.model.startswith("tiny@") and str(folder.parent) not in teacher.model
    assert teacher.model == connect(f"local:{folder}").model


# --- a request -------------------------------------------------------------------------------------------------------


def test_what_is_asked_and_what_is_answered(engines: list[Any], folder: Path) -> None:
    teacher = connect(f"vllm:{folder}")
    requests = [question(teacher, "Add.", temperature=0.5, max_tokens=5, sample=each) for each in range(3)]
    bodies = ask(teacher, *requests)
    (engine,) = engines
    tokenizer = tiny_tokenizer()
    prompt = tokenizer(render_alpaca("Add."), split_special_tokens=True)["input_ids"]
    for (tokens, sampling), request, body in zip(engine.asked, requests, bodies, strict=True):
        assert tokens == prompt
        assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.5, 1.0, 5)
        assert sampling.seed == int(request.key[:15], 16)
        assert body["model"] == "tiny" and text_of(body) == text_of(body).strip()
        usage = body["usage"]
        assert usage["prompt_tokens"] == len(prompt)
        assert body["choices"][0]["finish_reason"] == ("length" if usage["completion_tokens"] == 5 else "stop")
    assert engine.most_in_flight == 3, "vLLM batches what it has at once"
    assert len({text_of(each) for each in bodies}) > 1, "samples are several draws"
    assert ask(connect(f"vllm:{folder}"), *requests[::-1])[::-1] == bodies, "the same in every run"


def test_a_chat_template_is_used_and_marks_in_a_message_are_letters(
    engines: list[Any], tmp_path: Path, folder: Path
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    teacher = connect(f"vllm:{tmp_path}")
    ask(teacher, question(teacher, "What is <s>?"))
    (tokens, _) = engines[0].asked[0]
    assert tokens.count(tokenizer.bos_token_id) == 2, "the template's, not the message's"
    assert tokenizer.decode(tokens) == "<s>user: What is <s>?<s>assistant:"


def test_choices_and_schemas_are_structured_outputs(engines: list[Any], folder: Path) -> None:
    teacher = connect(f"vllm:{folder}")
    choice, made, greedy, wrong = ask(
        teacher,
        question(teacher, "Score.", choices=SCORES, max_tokens=1),
        question(teacher, "Translate.", schema=SCHEMA, max_tokens=40),
        question(teacher, "Greedy.", temperature=0.0),
        question(teacher, "Translate.", schema={"type": "nonsense"}),
    )
    assert text_of(choice) in SCORES and choice["choices"][0]["finish_reason"] == "stop"
    assert set(json.loads(text_of(made))) == {"made"}
    assert text_of(greedy)
    assert isinstance(wrong, RequestRefusedError) and wrong.reason == "bad_schema"
    shapes = engines[0].arguments.structured_outputs_config
    assert (shapes.backend, shapes.disable_any_whitespace) == ("guidance", True)


def test_what_does_not_fit_is_refused(engines: list[Any], folder: Path) -> None:
    teacher = connect(f"vllm:{folder}")
    long, strange, fine = ask(
        teacher, question(teacher, "word " * 600), question(teacher, "x", temperature=3.0), question(teacher, "x")
    )
    assert isinstance(long, RequestRefusedError) and long.reason == "too_long" and "512" in long.detail
    assert (
        isinstance(strange, RequestRefusedError)
        and strange.reason == "request_refused"
        and "temperature" in strange.detail
    )
    assert text_of(fine)
    assert len(engines[0].asked) == 1


def test_every_fault_is_somebodys(engines: list[Any], folder: Path) -> None:
    from vllm.v1.engine.async_llm import AsyncLLM

    teacher = connect(f"vllm:{folder}")
    for fault, kind in (("once", TransientError), ("abort", TransientError), ("dead", RunStoppedError)):
        AsyncLLM.faults.append(fault)
        (error,) = ask(teacher, question(teacher, "x"))
        assert type(error) is kind and "\n" not in str(error)


def test_a_model_that_cannot_be_loaded_stops_the_run(engines: list[Any], folder: Path) -> None:
    from gpt4_instruct.teachers.vllm import VLLMTeacher

    teacher = VLLMTeacher(str(folder), no_such_option=1)
    first, second = ask(teacher, question(teacher, "x"), question(teacher, "y"))
    assert isinstance(first, RunStoppedError) and "no_such_option" in str(first) and "\n" not in str(first)
    assert isinstance(second, RunStoppedError)
    assert engines == []


# --- the engine ------------------------------------------------------------------------------------------------------


def test_teachers_of_one_model_share_an_engine_and_close_ends_it(engines: list[Any], folder: Path) -> None:
    from gpt4_instruct.teachers.vllm import VLLMTeacher

    one, two = connect(f"vllm:{folder}"), connect(f"vllm:{folder}")
    other = VLLMTeacher(str(folder), gpu_memory_utilization=0.3)

    async def run() -> None:
        await asyncio.gather(*(each.ask(question(each, "x")) for each in (one, two, other, one)))
        assert [each.arguments.gpu_memory_utilization for each in engines] == [0.92, 0.3]
        await one.close()
        assert engines[0].running, "another one uses it"
        await two.close()
        await other.close()
        assert not engines[0].running
        await two.ask(question(two, "again"))
        await two.close()

    asyncio.run(run())
    assert len(engines) == 3
    assert {os.environ[name] for name in ("VLLM_LOGGING_LEVEL", "VLLM_WORKER_MULTIPROC_METHOD")} == {"WARNING", "spawn"}


def test_an_event_loop_that_is_lost_leaves_no_engine_behind(engines: list[Any], folder: Path) -> None:
    teacher = connect(f"vllm:{folder}")
    asyncio.run(teacher.ask(question(teacher, "x")))  # nobody closes it
    assert engines[0].running
    assert text_of(ask(teacher, question(teacher, "y"))[0])
    assert not engines[0].running


def test_who_gives_up_stops_the_request_and_not_the_engine(engines: list[Any], folder: Path) -> None:
    from vllm.v1.engine.async_llm import AsyncLLM

    teacher = connect(f"vllm:{folder}")

    async def run() -> None:
        AsyncLLM.faults.append("long")
        task = asyncio.create_task(teacher.ask(question(teacher, "x")))
        while not (engines and engines[0].in_flight):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(engines[0].aborted) == 1
        assert await teacher.ask(question(teacher, "y"))
        await teacher.close()

    asyncio.run(run())


def test_the_engine_of_a_run_asks_it_and_nothing_twice(engines: list[Any], folder: Path, tmp_path: Path) -> None:
    def run(count: int) -> tuple[list[str], Engine]:
        teacher = connect(f"vllm:{folder}")
        engine = Engine(Ledger(tmp_path / "ledger.sqlite3"))

        async def work(number: int) -> str:
            return (await engine.ask(teacher, question(teacher, f"Say {number}."))).text

        texts = list(engine.stream(work, range(count)))
        engine.close()
        return texts, engine

    first, _ = run(60)
    again, engine = run(61)
    assert again[:60] == first and (engine.asked, engine.reused) == (1, 60)
    assert engines[0].most_in_flight == 60
    assert [each.running for each in engines] == [False, False]


# --- vLLM itself -----------------------------------------------------------------------------------------------------

_PROGRAM = """
import asyncio, json, sys
from gpt4_instruct.records import Message, Request
from gpt4_instruct.teachers.vllm import VLLMTeacher

async def main():
    teacher = VLLMTeacher(sys.argv[1], **json.loads(sys.argv[2]))
    schema = {"type": "object", "properties": {"answer": {"type": "boolean"}}, "required": ["answer"],
              "additionalProperties": False}
    wanted = [{}, {"sample": 1}, {"choices": ("yes", "no")}, {"schema": schema}, {"schema": {"type": 7}}]
    requests = [Request(teacher.endpoint, teacher.model, (Message("user", "Is it?"),), {"max_tokens": 24}, **each)
                for each in wanted]
    long = Request(teacher.endpoint, teacher.model, (Message("user", "word " * 4000),), {"max_tokens": 24})
    runs = [await asyncio.gather(*(teacher.ask(each) for each in [*requests, long]), return_exceptions=True)
            for _ in range(2)]
    await teacher.close()
    print(json.dumps([[json.loads(each) if isinstance(each, str) else [type(each).__name__, str(each)] for each in run]
                      for run in runs]))

if __name__ == "__main__":
    asyncio.run(main())
"""


def small_model(folder: Path) -> Path:
    """A random Llama whose attention heads are as wide as vLLM's kernels want them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=256, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@needs_vllm
def test_with_vllm_itself(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(_PROGRAM)
    options = os.environ.get("GPT4_INSTRUCT_TEST_VLLM", '{"enforce_eager": true, "gpu_memory_utilization": 0.3}')
    command = [sys.executable, tmp_path / "program.py", small_model(tmp_path / "small"), options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=Path(__file__).parents[1],
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = json.loads(done.stdout.splitlines()[-1])
    assert first == second, "the same request gets the same answer"
    one, other, choice, made, wrong, long = first
    assert text_of(one) != text_of(other)
    assert text_of(choice) in ("yes", "no") and choice["choices"][0]["finish_reason"] == "stop"
    assert set(json.loads(text_of(made))) == {"answer"}
    assert wrong[0] == "RequestRefusedError" and "bad_schema" in wrong[1]
    assert long[0] == "RequestRefusedError" and "too_long" in long[1]
    assert all(each["usage"]["completion_tokens"] <= 24 for each in (one, other))


@needs_vllm
def test_the_stand_in_has_the_names_and_signatures_of_vllm(engines: list[Any]) -> None:
    ask_both = """
import inspect, json
from vllm import AsyncEngineArgs, SamplingParams
from vllm.config import StructuredOutputsConfig
from vllm.inputs import tokens_input
from vllm.sampling_params import StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError
print(json.dumps({each.__qualname__: list(inspect.signature(each).parameters) for each in (
    AsyncEngineArgs, SamplingParams, StructuredOutputsConfig, StructuredOutputsParams, AsyncLLM.generate,
    AsyncLLM.from_engine_args, AsyncLLM.shutdown, tokens_input)}))
"""
    done = subprocess.run([sys.executable, "-c", ask_both], capture_output=True, text=True, check=True, timeout=200)
    from vllm import AsyncEngineArgs, SamplingParams
    from vllm.config import StructuredOutputsConfig
    from vllm.inputs import tokens_input
    from vllm.sampling_params import StructuredOutputsParams
    from vllm.v1.engine.async_llm import AsyncLLM

    theirs = json.loads(done.stdout.splitlines()[-1])
    for each in (AsyncEngineArgs, SamplingParams, StructuredOutputsConfig, StructuredOutputsParams, AsyncLLM.generate,
                 AsyncLLM.from_engine_args, AsyncLLM.shutdown, tokens_input):  # fmt: skip
        assert set(inspect.signature(each).parameters) <= set(theirs[each.__qualname__])
