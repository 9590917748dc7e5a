"""Batches without padding: exact packing, rows blind to each other, and the loss and gradients of padded full logits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt4_instruct.errors import UsageError
from gpt4_instruct.training.attention import separate_rows
from gpt4_instruct.training.batches import best_fit, flat_batch, pack, padded_batch
from gpt4_instruct.training.tokens import IGNORED
from tests.tiny import FAMILIES, needs_training, rows, tiny_model, tiny_tokenizer


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(50, 90))
def test_every_item_is_in_one_bin_that_holds_it(lengths, capacity):
    bins = best_fit(lengths, capacity)
    assert sorted(item for each in bins for item in each) == list(range(len(lengths)))
    sizes = [sum(lengths[item] for item in each) for each in bins]
    assert all(size <= capacity for size in sizes)
    # Best fit decreasing: 11/9 of the fewest bins and 6/9, of which there are at least the whole length's.
    least = -(-sum(lengths) // capacity)
    halves = sum(2 * length > capacity for length in lengths)  # no two of these fit together
    assert 9 * len(bins) <= 11 * max(least, halves) + 6 or len(bins) <= _fewest(lengths, capacity) * 11 / 9 + 6 / 9


def _fewest(lengths, capacity):
    """The fewest bins, by trying; only for what the bound above leaves open."""

    def fits(rest, rooms):
        if not rest:
            return True
        seen = set()
        for place, room in enumerate(rooms):
            if room >= rest[0] and room not in seen:
                seen.add(room)
                if fits(rest[1:], [*rooms[:place], room - rest[0], *rooms[place + 1 :]]):
                    return True
        return False

    ordered = sorted(lengths, reverse=True)
    count = -(-sum(lengths) // capacity)
    while not fits(ordered, [capacity] * count):
        count += 1
    return count


def test_a_row_longer_than_a_pack_is_one_line():
    with pytest.raises(UsageError, match="a row of 9 tokens does not fit into a pack of 8"):
        best_fit([3, 9], 8)


@pytest.fixture(scope="module")
def encoded():
    from datasets import Dataset

    from gpt4_instruct.training.tokens import encode

    return encode(Dataset.from_list(rows(24)), tiny_tokenizer(), 200)


@needs_training
def test_packs_hold_the_rows_whole(encoded):
    packed = pack(encoded, 512)
    found = []
    for each in packed:
        assert each["length"] == sum(each["lengths"]) == len(each["input_ids"]) == len(each["labels"]) <= 512
        start = 0
        for length in each["lengths"]:
            found.append((each["input_ids"][start : start + length], each["labels"][start : start + length]))
            start += length
    assert sorted(found) == sorted((each["input_ids"], each["labels"]) for each in encoded)
    assert len(packed) <= -(-sum(encoded["length"]) // 512) + 1


@pytest.fixture(params=[*FAMILIES, "tied"])
def model(request, tmp_path):
    from transformers import AutoModelForCausalLM

    family = "llama" if request.param == "tied" else request.param
    folder = tiny_model(tmp_path, family, tie=request.param == "tied")
    return AutoModelForCausalLM.from_pretrained(folder)


def gradients(model, batch, count):
    model.zero_grad()
    loss = model(**batch, num_items_in_batch=count).loss
    loss.backward()
    return loss.item(), {name: each.grad.clone() for name, each in model.named_parameters()}


@needs_training
@pytest.mark.parametrize("kind", ["rows", "packs"])
def test_loss_and_gradients_are_those_of_padding_and_full_logits(model, encoded, kind):
    import torch

    model.train()
    some = [encoded[number] for number in range(9)]
    count = sum(label != IGNORED for each in some for label in each["labels"])
    loss, wanted = gradients(model, padded_batch(some, 0), count)
    assert separate_rows(model, 200)
    laid = some if kind == "rows" else list(pack(encoded.select(range(9)), 512))
    kept, found = gradients(model, flat_batch(laid), count)
    everywhere, also = gradients(model, flat_batch(laid, project_all=True), count)
    assert kept == pytest.approx(loss, abs=1e-6) and everywhere == pytest.approx(loss, abs=1e-6)
    for name, each in wanted.items():
        for other in (found, also):
            torch.testing.assert_close(
                other[name], each, atol=1e-6, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
            )


@needs_training
def test_only_the_positions_that_are_learnt_are_projected(model, encoded):
    some = [encoded[number] for number in range(4)]
    separate_rows(model, 200)
    shapes = []
    model.get_output_embeddings().register_forward_hook(lambda module, given, out: shapes.append(out.shape[1]))
    model(**flat_batch(some))
    assert shapes == [sum(label != IGNORED for each in some for label in each["labels"])]


@needs_training
def test_no_row_sees_another(model, encoded):
    """Perturbs one row of a flat batch: nothing changes in the others. (Without `separate_rows`, OPT's do.)"""
    import torch

    model.eval()
    some = [encoded[number] for number in range(5)]
    other = {**some[2], "input_ids": [(token + 7) % 700 for token in some[2]["input_ids"]]}

    def logits(given):
        with torch.no_grad():
            return (
                model(**flat_batch(given, project_all=True)).logits[0].split([len(each["input_ids"]) for each in given])
            )

    separate_rows(model, 200)
    before, after = logits(some), logits([*some[:2], other, *some[3:]])
    for place in (0, 1, 3, 4):
        assert torch.equal(before[place], after[place])
    assert not torch.allclose(before[2], after[2])
    for place, row in enumerate(some):  # and each is as if it were alone
        alone = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        torch.testing.assert_close(before[place], alone, atol=1e-5, rtol=1e-4)


@needs_training
def test_a_model_that_was_made_separate_still_generates(model, encoded):
    """With padding, and with what is cached."""
    import torch

    tokens = [encoded[0]["input_ids"][:9], encoded[1]["input_ids"][:14]]
    width = 14
    given = {
        "input_ids": torch.tensor([[0] * (width - len(each)) + each for each in tokens]),
        "attention_mask": torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in tokens]),
        "max_new_tokens": 8,
        "do_sample": False,
        "pad_token_id": 0,
        "eos_token_id": None,
    }
    model.eval()
    wanted = model.generate(**given)
    separate_rows(model, 200)
    assert model.generate(**given).tolist() == wanted.tolist()


@needs_training
def test_attention_that_cannot_keep_rows_apart_is_told(tmp_path):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    def made(kind, **more):
        shape = {"vocab_size": 100, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, **more}
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape), dtype=torch.float32)

    window = {"intermediate_size": 16, "num_key_value_heads": 2, "sliding_window": 64}
    assert not separate_rows(made("mistral", **window), 65)
    assert separate_rows(made("mistral", **window), 64)
    assert not separate_rows(made("gemma2", intermediate_size=16, num_key_value_heads=2, head_dim=8), 64)
    assert not separate_rows(made("bloom"), 64)
