"""How tasks are invented: our own recipe and the two classic ones, their constants in one place, each with its source.

Alpaca is tatsu-lab/stanford_alpaca @ 761dc5bfbdeeffa89b8bff5d038781a4055f796a: generate_instruction.py, utils.py,
prompt.txt. Self-Instruct is yizhongw/self-instruct @ 0b26ccaa415992100fa32df62d41b994cf928e23:
self_instruct/bootstrap_instructions.py, identify_clf_or_not.py, generate_instances.py, prepare_for_finetuning.py.

Both asked completion models. What a chat endpoint does not take is left out: ``logit_bias`` (Alpaca's keeps
text-davinci-003 from ending its text, by that model's vocabulary), ``best_of`` and ``logprobs``. Their prompts ended
with the number of the next task, for the model to go on behind it; a chat model is told which number to go on with.
Nor is a blank line a stop: chat models set one behind an introduction and between tasks. It ends a task all the same
when the reply is read; and so is every other stop heeded then, for some models take none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gpt4_instruct.errors import UnknownNameError
from gpt4_instruct.records import Sampling

__all__ = ["RECIPES", "Recipe", "find_recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How tasks are invented.

    Attributes:
        style: of prompt and reply: ``"structured"`` (JSON), ``"numbered"`` (instruction, input and output under
            numbers) or ``"listed"`` (instructions alone).
        human: seeds among the examples of a request; more of them while there are too few machine ones.
        machine: tasks kept before among the examples of a request.
        tasks: new tasks asked for in a request.
        requests: in a round. All of a round are composed from what was kept before it.
        growing: the first rounds have 2, 4, 8, ... requests, so that what they bring steers the next ones early.
        sampling: of the requests for tasks.
        parameters: further fields of those requests.
        threshold: a task is not novel when its ROUGE-L F1 with a kept one is greater.
        checks: what an instruction must pass, names in the room ``quality``.
        whole: a reply that is cut off is left out as a whole, rather than its last task.
    """

    style: Literal["structured", "numbered", "listed"]
    human: int
    machine: int
    tasks: int
    requests: int
    sampling: Sampling
    parameters: Mapping[str, Any] = field(default_factory=dict)
    threshold: float = 0.7
    checks: tuple[str, ...] = ()
    growing: bool = False
    whole: bool = False

    def requests_of(self, round: int) -> int:
        """How many requests a round has; rounds count from 1.

        >>> [find_recipe("gpt4-instruct").requests_of(round) for round in (1, 2, 3, 4, 100)]
        [2, 4, 8, 16, 16]
        """
        return min(self.requests, 2 ** min(round, 30)) if self.growing else self.requests


_FIRST = ("task_length",)
_LAST = ("program_asked", "begins_with_punctuation", "begins_not_ascii")

RECIPES: dict[str, Recipe] = {
    # Ours. The proportion of examples is Self-Instruct's, the tasks of a request and the filters are Alpaca's; 16
    # requests of 20 tasks are a round that adds little to the wait for its slowest reply. Twenty tasks with inputs of
    # up to 100 words, in JSON, are some 3,000 tokens.
    "gpt4-instruct": Recipe(
        style="structured",
        human=6,
        machine=2,
        tasks=20,
        requests=16,
        growing=True,
        sampling=Sampling(temperature=1.0, top_p=1.0, max_tokens=4096),
        checks=(*_FIRST, "wrong_language", "blacklist_alpaca", *_LAST),
    ),
    # generate_instruction.py: num_prompt_instructions=3, seeds only; a list of 20, these among them (prompt.txt);
    # request_batch_size=5; temperature=1.0, top_p=1.0, max_tokens=3072, stop=["\n20", "20.", "20."]; 0.7.
    "alpaca": Recipe(
        style="numbered",
        human=3,
        machine=0,
        tasks=17,
        requests=5,
        sampling=Sampling(temperature=1.0, top_p=1.0, max_tokens=3072),
        parameters={"stop": ["\n20", "20."]},
        checks=(*_FIRST, "blacklist_alpaca", *_LAST),
    ),
    # bootstrap_instructions.py: num_prompt_instructions=8, of them n=2 of the machine's; stop at number 16, so 9 to 16
    # are new; request_batch_size=5; max_tokens=1024, temperature=0.7, top_p=0.5, presence_penalty=2,
    # stop=["\n\n", "\n16", "16.", "16 ."]; 0.7; a reply with finish_reason "length" is left out.
    "self-instruct": Recipe(
        style="listed",
        human=6,
        machine=2,
        tasks=8,
        requests=5,
        sampling=Sampling(temperature=0.7, top_p=0.5, max_tokens=1024),
        parameters={"presence_penalty": 2, "stop": ["\n16", "16.", "16 ."]},
        checks=(*_FIRST, "blacklist_self_instruct", *_LAST),
        whole=True,
    ),
}

# Self-Instruct's instances. generate_instances.py: max_instances_to_generate=5; max_tokens=350, for classifications
# 300; temperature=0, presence_penalty=1.5, stop=["Example 6", "Task:"] (top_p=0 there, which is the same at
# temperature 0). identify_clf_or_not.py: temperature=0, max_tokens=3.
MOST_INSTANCES = 5
INSTANCES = Sampling(temperature=0.0, max_tokens=350)
CLASS_INSTANCES = Sampling(temperature=0.0, max_tokens=300)
INSTANCE_PARAMETERS: dict[str, Any] = {"presence_penalty": 1.5, "stop": [f"Example {MOST_INSTANCES + 1}", "Task:"]}
CLASSIFICATION = Sampling(temperature=0.0, max_tokens=3)
# prepare_for_finetuning.py, filter_invalid_instances.
INSTANCE_CHECKS = ("empty", "input_is_output", "ends_with_colon")

# An input of about 100 words; more room, for Chinese takes more tokens a word.
INPUT = Sampling(temperature=1.0, max_tokens=512)

# A source of tasks is dry after so many rounds one after another in which less than this share of the tasks that were
# read is kept; and unreadable after as many without one task.
DRY_ROUNDS = 3
DRY_SHARE = 0.01


def find_recipe(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, list(RECIPES))
    return RECIPES[name]
