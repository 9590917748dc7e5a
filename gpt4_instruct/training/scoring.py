"""Rewards: the one number that a reward model gives an answer, the same in training, in ranking and alone.

RewardModel("reward-opt").score([("Name a fish.", "", "Cod."), ("Name a fish.", "", "A tree.")])    # [1.7, -2.3]

A sequence classifier of transformers reads the head's output at the last token that is no padding. Here texts lie end
to end in one row, so the head's output is taken at the last token of each; the two are the same number.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.models import quiet
from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.storage import read_json
from gpt4_instruct.training.attention import separate_rows
from gpt4_instruct.training.context import learnt_positions
from gpt4_instruct.training.loading import find_base, load_tokenizer, require
from gpt4_instruct.training.pairs import text_batch
from gpt4_instruct.training.runs import FACTS
from gpt4_instruct.training.tokens import Encoder

__all__ = ["RewardModel", "give_all_rewards", "has_token_head", "rewards"]

_TOKENS = {"cpu": 2_048}  # of a batch, by device
_MOST_TOKENS = 16_384
_HEAD = "score"  # what transformers calls a head on each token's state


def has_token_head(model: Any) -> bool:
    """Whether a model's head is on each token's state, as those of causal language models are."""
    return any(name.rpartition(".")[2] == _HEAD for name, _ in model.named_modules())


def give_all_rewards(model: Any) -> None:
    """Makes a model with a token head give every token's reward as its ``logits``, [rows, T, 1] in float32.

    The loss then hangs on the model's own output, as whatever is wrapped around it (DDP, FSDP) expects. The head
    computes in float32 also under autocast: of bfloat16's three digits, two rewards around 5 would share most.

    Args:
        model: a sequence classifier, with adapters or not, not wrapped for several devices yet.
    """
    import torch
    from torch.nn.functional import linear

    kept: list[Any] = []

    def before(head: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0].to(head.weight.dtype),)

    def after(head: Any, inputs: tuple[Any, ...], output: Any) -> None:
        with torch.autocast(inputs[0].device.type, enabled=False):
            bias = None if head.bias is None else head.bias.float()
            kept.append(linear(inputs[0].float(), head.weight.float(), bias))

    def swap(module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        output.logits = kept.pop()
        return output

    # With adapters, the head is inside of a module of that name; the outer one is what the model calls.
    heads = [(name.count("."), module) for name, module in model.named_modules() if name.rpartition(".")[2] == _HEAD]
    _, head = min(heads, key=lambda each: each[0])
    head.register_forward_pre_hook(before)
    head.register_forward_hook(after)
    model.register_forward_hook(swap)


def rewards(model: Any, batch: dict[str, Any]) -> Any:
    """The reward of each text of a batch of `pairs.text_batch`: [texts], in float32.

    Args:
        model: of `give_all_rewards`, or one without a token head, which reads the last token by itself.
        batch: on the model's device.
    """
    last = batch["last"]
    logits = model(**{name: value for name, value in batch.items() if name != "last"}).logits.float()
    return logits.flatten() if logits.dim() == 2 else logits.flatten()[last]


class RewardModel:
    """Scores answers with a reward model, in batches of like length.

    An answer's reward depends on nothing but its text: what it is scored together with changes the last bits of a
    float32 at most.

    Args:
        folder_or_name: a folder that `run_reward` wrote, or any sequence classifier of transformers with one output: a
            folder or Hub id ``ORG/NAME[@REVISION]``.
        device: as torch names it; by default a GPU if there is one.

    Attributes:
        name: of the model, as it may be told to others.
        identity: changes whenever its files do.
        max_length: tokens beyond are cut off, as in its training.

    Raises:
        MissingExtraError: the extra ``train`` is not installed.
        UsageError: there is no such model, or it is no reward model.
    """

    def __init__(self, folder_or_name: str, *, device: str | None = None) -> None:
        require()
        import torch

        base = find_base(folder_or_name)
        self.name, self.identity = base.name, base.identity
        self._model = _load(base.folder, base.name)
        self.tokenizer = load_tokenizer(base.folder)
        found = _recipe(base.folder)
        config = self._model.config.get_text_config()
        longest = learnt_positions(self._model) or getattr(config, "max_position_embeddings", None) or 512
        self.max_length: int = found.get("max_length") or longest
        self._encoder = Encoder(self.tokenizer, self.max_length)
        self._autocast = found.get("precision") == "bf16"  # as it computed in training
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        try:
            self._model.to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"{self.name} cannot run on {self.device}: {str(error).splitlines()[0]}") from error
        token_head = has_token_head(self._model)
        flat = token_head and separate_rows(self._model, self.max_length)
        if token_head:
            give_all_rewards(self._model)
        self._pad = None if flat else self._padding()

    def _padding(self) -> int:
        pad: int | None = self._model.config.get_text_config().pad_token_id
        return 0 if pad is None else pad

    def score(self, texts: Sequence[tuple[str, str, str]]) -> list[float]:
        """The rewards of answers, in their order.

        Args:
            texts: (instruction, input, answer) of each; the input may be empty.

        >>> reward_model.score([("Add.", "1 2", "3")])  # doctest: +SKIP
        [0.83]
        """
        import torch

        found: list[float] = [0.0] * len(texts)
        encoded = self._encoder.encode([(render_alpaca(asked, input), answer) for asked, input, answer in texts])
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            for places in self._batches([len(each.ids) for each in encoded]):
                ids = np.concatenate([encoded[place].ids for place in places])
                batch = text_batch(ids, [len(encoded[place].ids) for place in places], self._pad)
                moved = {name: _to(value, self.device) for name, value in batch.items()}
                for place, reward in zip(places, rewards(self._model, moved).tolist(), strict=True):
                    found[place] = reward
        return found

    def _batches(self, lengths: list[int]) -> list[list[int]]:
        """Texts by their place, the longest first, so that too little memory shows at once."""
        most = _TOKENS.get(self.device.type, _MOST_TOKENS)
        if self._pad is not None and not has_token_head(self._model):
            most = 0  # it finds a text's end by itself, which it can where there is no padding
        batches: list[list[int]] = []
        tokens = 0
        for place in sorted(range(len(lengths)), key=lambda each: -lengths[each]):
            if not batches or tokens + lengths[batches[-1][0]] > most:
                batches.append([])
                tokens = 0
            batches[-1].append(place)
            tokens += lengths[batches[-1][0]]
        return batches


def _to(value: Any, device: Any) -> Any:
    return value.to(device) if hasattr(value, "to") else value


def _load(folder: Path, name: str) -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder)
            kinds = config.architectures or ["model of no known kind"]
            if not kinds[0].endswith("ForSequenceClassification") or config.num_labels != 1:
                # transformers would load it all the same, and put a head of random numbers on it.
                what = f"{config.num_labels} outputs" if kinds[0].endswith("ForSequenceClassification") else kinds[0]
                raise UsageError(
                    f"{name} is no reward model ({what}, not a ForSequenceClassification with one output): train one "
                    "with gpt4-instruct train reward"
                )
            return AutoModelForSequenceClassification.from_pretrained(folder, dtype="float32")
    except UsageError:
        raise
    except Exception as error:  # every library below raises its own
        line = str(error).strip().split("\n")[0][:300] or type(error).__name__
        raise UsageError(f"{name} cannot be loaded as a reward model: {line}") from error


def _recipe(folder: Path) -> dict[str, Any]:
    """How the model was trained, if it was by this package."""
    try:
        found = read_json(folder / FACTS)["recipe"] if (folder / FACTS).is_file() else {}
    except (OutputError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
