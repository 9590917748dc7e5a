"""Commands for many GPUs, as they are written down: the launchers and the command line take every one of them.

That what they start learns the same is tests/test_distributed.py's, with two processes on a processor.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.training import configs
from gpt4_instruct.training.finishing import accumulation
from gpt4_instruct.training.memory import LLAMA_7B, Shape, memory_gib, shape_of
from gpt4_instruct.training.recipes import SFT_RECIPES, LoRA, changed
from tests.tiny import needs_training

pytestmark = needs_training

ROOT = Path(__file__).parents[1]
CONFIGS = Path(next(iter(configs.__path__)))
FILES = [CONFIGS / "fsdp.yaml", CONFIGS / "deepspeed.yaml", ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PLACE = """$(python -c 'import gpt4_instruct.training.configs as c; print(*c.__path__)')"""


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """A tiny model's threads only wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def written() -> list[tuple[str, str]]:
    """Each command of a launcher in our files, with the file's name; lines that go on are one."""
    found = []
    for file in FILES:
        text = re.sub(r"^# ?", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
        lines = [line.strip() for line in text.splitlines()]
        starts = ("accelerate launch ", "torchrun ")
        found += [(file.name, line.partition("  #")[0]) for line in lines if line.startswith(starts)]
    return found


def of_launcher(command: str) -> tuple[Any, list[str]]:
    """What the real launcher reads in a command, and the program's own arguments."""
    words = shlex.split(command.replace(f'"{PLACE}', f'"{CONFIGS}').replace("$CONFIGS", str(CONFIGS)))
    if words[0] == "torchrun":
        from torch.distributed.run import get_args_parser

        read = get_args_parser().parse_args(words[1:])
        return read, read.training_script_args
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    read = launch_command_parser().parse_args(words[2:])
    read, _, _ = _validate_launch_command(read)
    return read, read.training_script_args


def of_program(arguments: list[str]) -> dict[str, Any]:
    """What the command line reads in its arguments; an option that it has not ends the test."""
    import typer

    from gpt4_instruct.cli.app import app

    command: Any = typer.main.get_command(app)
    for name in arguments[:2]:
        command = command.commands[name]
    return dict(command.make_context(" ".join(arguments[:2]), arguments[2:]).params)


@pytest.mark.parametrize(("file", "command"), written())
def test_a_command_that_is_written_down_can_be_given(file, command, monkeypatch):
    # What a launcher asks of GPUs before it starts anything.
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    read, arguments = of_launcher(command)
    assert read.module and read.training_script == "gpt4_instruct"
    options = of_program(arguments)
    if command.startswith("torchrun"):
        _, _, most = str(read.nnodes).rpartition(":")
        devices = int(most) * int(read.nproc_per_node)
    else:
        devices = read.num_processes
        assert devices == 8 * read.num_machines
        assert bool(read.use_fsdp) != bool(read.use_deepspeed)
        if read.use_deepspeed and read.num_machines > 1:
            assert read.deepspeed_multinode_launcher == "standard"  # else it would want pdsh and a hostfile
        if read.num_machines > 1:
            assert read.main_process_ip and read.main_process_port
    plan = changed(
        SFT_RECIPES[options["recipe"]], device_batch=options["device_batch"], batch_size=options["batch_size"]
    )
    assert accumulation(plan, devices) >= 1


def test_both_configs_have_a_command_for_one_computer_and_for_two():
    counted = {
        name: [of_launcher(each)[0].num_machines for file, each in written() if file == name]
        for name in ("fsdp.yaml", "deepspeed.yaml")
    }
    assert counted == {"fsdp.yaml": [1, 2], "deepspeed.yaml": [1, 2]}


# --- memory -----------------------------------------------------------------------------------------------------------


def tiny(layers: int, vocabulary: int = 800, hidden: int = 64, intermediate: int = 172) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from gpt4_instruct.training.attention import separate_rows

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            use_cache=False,
        )
    )
    assert separate_rows(model, 512)
    return model.train()


def kept(model: Any, *, checkpointing: bool, length: int = 100, count: int = 4) -> int:
    """Bytes that a model's way there keeps for its way back, its weights left out; half of each row is learnt."""
    import torch

    from gpt4_instruct.training.batches import flat_batch

    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    half = length // 2
    labels = [-100] * half + list(range(half))
    batch = flat_batch([{"input_ids": list(range(length)), "labels": labels}] * count)
    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    held: list[Any] = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda each: held.append(each) or each, lambda each: each),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ):
        model(**batch, num_items_in_batch=torch.tensor(1.0))
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in held}
    return sum(size for place, size in storages.items() if place not in own)


def test_activations_are_as_large_as_they_are_said_to_be():
    shape, tokens = shape_of(tiny(4)), 400
    plan = changed(SFT_RECIPES["llama-gpt4"], checkpointing=True)
    copies = 2 * (4 * 64 * 64 + 3 * 64 * 172)  # autocast's of a layer's weights, which a parted model has not
    for checkpointing in (True, False):
        more = kept(tiny(6), checkpointing=checkpointing) - kept(tiny(2), checkpointing=checkpointing)
        layer = more / 4 - (0 if checkpointing else copies)
        said = memory_gib(shape, changed(plan, checkpointing=checkpointing), 8, tokens=tokens)["activations"] * 2**30
        if checkpointing:  # one layer on its way back comes on top
            said -= (
                2 * memory_gib(shape, changed(plan, checkpointing=False), 8, tokens=tokens)["activations"] * 2**30 / 4
            )
        assert layer == pytest.approx(said / 4, rel=0.02)
    larger = kept(tiny(2, 1_600), checkpointing=True) - kept(tiny(2), checkpointing=True)
    logits = memory_gib(shape, plan, 8, tokens=200)["logits"] * 2**30  # 200 of the tokens are learnt
    assert larger < logits  # what is kept for the way back; with gradients it is three times that


def test_weights_gradients_and_moments_are_those_of_a_step():
    import torch

    model = tiny(2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.arange(20)[None], labels=torch.arange(20)[None]).loss.backward()
    optimizer.step()
    found = memory_gib(shape_of(model), SFT_RECIPES["llama-gpt4"], 1)
    size = sum(each.numel() * each.element_size() for each in model.parameters())
    moments = sum(
        each.numel() * each.element_size()
        for state in optimizer.state.values()
        for each in state.values()
        if each.dim()
    )
    assert found["weights"] * 2**30 == size and found["moments"] * 2**30 == moments
    assert found["gradients"] * 2**30 == sum(each.grad.nbytes for each in model.parameters())


def test_lora_trains_as_many_numbers_as_it_is_said_to():
    from gpt4_instruct.training.loading import add_lora

    lora = LoRA(rank=4)
    model = tiny(2)
    shape = shape_of(model)
    adapted = add_lora(model, lora)
    trained = sum(each.numel() for each in adapted.parameters() if each.requires_grad)
    found = memory_gib(shape, changed(SFT_RECIPES["llama-gpt4"], lora=lora), 1)
    assert found["gradients"] * 2**30 == 4 * trained and found["moments"] * 2**30 == 8 * trained


def test_which_cards_take_the_recipe():
    """As the configs and the guide say."""
    plan = SFT_RECIPES["llama-gpt4"]

    def size(devices: int, shape: Shape = LLAMA_7B, **values: Any) -> float:
        return sum(memory_gib(shape, changed(plan, **values), devices).values())

    assert size(8) < 24 < size(4) < 40 < size(2) < 80 < size(1)
    assert size(16) < 16
    assert size(1, lora=LoRA()) < 24
    assert size(8, checkpointing=False) < 40  # a third faster where there is room
    assert size(8, checkpointing=False, device_batch=8) < 80
