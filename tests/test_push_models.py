"""Models, adapters and reward models on the Hub: from a base there to a tuned one there, and asked from a clean cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.hub import Client, LoopbackHub
from tests.pushing import push_folder, upload_file
from tests.tiny import needs_training, rows, scored_rows, tiny_model

pytestmark = needs_training
SMALL = {"max_length": 256, "batch_size": 8, "device_batch": 8, "precision": "fp32", "held_out": 0.2, "max_steps": 1}


@pytest.fixture(scope="module")
def hub():
    with LoopbackHub(part_bytes=100_000) as served:
        yield served


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("client")
    with Client(hub, home / "hf", GPT4_INSTRUCT_HOME=str(home / "home")) as process:
        yield process


def _tune(folder: str) -> None:
    """A base on the Hub, a model and adapters tuned from there, and a reward model."""
    from huggingface_hub import HfApi

    from gpt4_instruct import LoRA, RewardRecipe, SFTRecipe, train_reward, train_sft

    HfApi().create_repo("me/base")
    HfApi().upload_folder(repo_id="me/base", folder_path=tiny_model(Path(folder, "base")))
    recipe = SFTRecipe(**SMALL, lora=LoRA(rank=2, alpha=4))  # type: ignore[arg-type]
    train_sft(rows(16), Path(folder, "sft"), model="me/base", recipe=recipe)
    opt = str(tiny_model(Path(folder, "opt"), "opt"))
    train_reward(scored_rows(12), Path(folder, "reward"), model=opt, recipe=RewardRecipe(**SMALL))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tuned(client, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    client.call(_tune, str(folder))
    return folder


def _ask(repo_id: str) -> tuple[int, str]:
    from transformers import AutoModelForCausalLM, pipeline

    model = AutoModelForCausalLM.from_pretrained(repo_id)
    messages = [{"role": "user", "content": "Name a planet."}]
    said = pipeline("text-generation", repo_id)(messages, max_new_tokens=3)
    return model.num_parameters(), said[0]["generated_text"][-1]["role"]


def _ask_adapters(repo_id: str) -> tuple[str, str]:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    model = AutoPeftModelForCausalLM.from_pretrained(repo_id)
    template = AutoTokenizer.from_pretrained(repo_id).chat_template
    return model.peft_config["default"].base_model_name_or_path, template


def _score(repo_id: str) -> list[float]:
    from gpt4_instruct import RewardModel

    return list(RewardModel(repo_id).score([("Name a planet.", "", "Mars."), ("Name a planet.", "", "No!!!")]))


def _evaluate(line: str) -> Any:
    import peft
    import transformers

    assert peft and transformers
    return type(eval(line)).__name__


def test_a_tuned_model_answers_from_the_hub(hub, client, tuned):
    result = client.call(push_folder, str(tuned / "sft"), "me/model", tag="v1")
    repo = hub.repos["models/me/model"]
    assert result.kind == "model" and repo.private
    assert [each.title for each in repo.log()] == ["Add the model", "initial commit"]
    files = set(repo.files())
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "training.json"} <= files
    assert "adapter/adapter_model.safetensors" in files
    assert not any(path.startswith("checkpoints") for path in files)
    card = repo.files()["README.md"].decode()
    assert 'pipeline("text-generation", "me/model")' in card and "PATH_OR_REPOSITORY" not in card
    parameters, role = client.call(_ask, "me/model")
    assert parameters > 10_000 and role == "assistant"
    assert client.call(_evaluate, result.loads_with) == "LlamaForCausalLM"

    asked = len(hub.requests)
    again = client.call(push_folder, str(tuned / "sft"), "me/model")
    assert not (again.added or again.changed) and not [each for each in hub.requests[asked:] if each.method == "PUT"]


def test_weights_in_other_files_replace_those_that_are_there(hub, client, tuned):
    for path in (
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "gguf/x.gguf",
    ):
        client.call(upload_file, "me/again", path, "{}", "model")
    result = client.call(push_folder, str(tuned / "sft"), "me/again")
    assert sorted(result.deleted) == [
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
    ]
    assert "gguf/x.gguf" in hub.repos["models/me/again"].files(), "what somebody added stays"
    assert client.call(_ask, "me/again")[1] == "assistant"


def test_adapters_alone_find_their_base_on_the_hub(hub, client, tuned):
    result = client.call(push_folder, str(tuned / "sft" / "adapter"), "me/adapter")
    files = hub.repos["models/me/adapter"].files()
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files
    card = files["README.md"].decode()
    assert "library_name: peft" in card and "This folder holds adapters only" in card
    base, template = client.call(_ask_adapters, "me/adapter")
    assert base == "me/base" and "### Instruction:" in template
    assert client.call(_evaluate, result.loads_with) == "PeftModelForCausalLM"


def test_a_reward_model_scores_from_the_hub(hub, client, tuned):
    result = client.call(push_folder, str(tuned / "reward"), "lab/reward")
    assert len(client.call(_score, "lab/reward")) == 2
    assert client.call(_evaluate, result.loads_with) == "OPTForSequenceClassification"
    assert len(hub.asked("PUT /lfs/models/lab/reward/*/*")) > 1, "its weights were sent in parts"
