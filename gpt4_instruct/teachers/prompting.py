"""How a request becomes a prompt for a model on this computer, in tokens, and how long its answer may be."""

from __future__ import annotations

from typing import Any

from gpt4_instruct.asking import prompt_ids
from gpt4_instruct.errors import RequestRefusedError
from gpt4_instruct.prompts.tasks import is_alpaca, render_alpaca
from gpt4_instruct.records import Request
from gpt4_instruct.teachers.decoding import parameters

__all__ = ["fit"]

_LEAST_ROOM = 256  # tokens for an answer, below which a long prompt is refused


def fit(tokenizer: Any, request: Request, context: int) -> tuple[list[int], int]:
    """The token ids of a request's prompt, and the most tokens for its answer.

    A model without a chat template is asked in Alpaca's form.

    Args:
        tokenizer: the model's, of transformers.
        request: what is asked.
        context: the model's, in tokens: prompt and answer.

    Raises:
        RequestRefusedError: ``too_long``: it does not fit.
        Exception: whatever the chat template raises.
    """
    limit = int(parameters(request)["max_tokens"])
    if request.choices:
        # A token is at least a byte, and the end is one more: cutting a choice short would make it another.
        limit = max(len(choice.encode()) for choice in request.choices) + 1
    if tokenizer.chat_template:
        messages = [{"role": role, "content": content} for role, content in request.messages]
        tokens = prompt_ids(tokenizer, messages)
    else:
        last = next((message.content for message in reversed(request.messages) if message.role == "user"), "")
        text = last if is_alpaca(last) else render_alpaca(last)
        tokens = tokenizer(text, split_special_tokens=True)["input_ids"]  # as in training
    room = context - len(tokens)
    if _LEAST_ROOM <= room < limit and not request.choices:
        limit = room  # most answers are shorter than they may be; one that is not is cut off and says so
    if room < limit:
        raise RequestRefusedError(
            "too_long",
            f"{len(tokens)} prompt tokens and {limit} for the answer do not fit into the model's {context}",
        )
    return list(tokens), limit
