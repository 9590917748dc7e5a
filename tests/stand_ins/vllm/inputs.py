from __future__ import annotations

from typing import TypedDict


class TokensInput(TypedDict):
    type: str
    prompt_token_ids: list[int]


def tokens_input(
    prompt_token_ids: list[int], *, prompt: str | None = None, cache_salt: str | None = None
) -> TokensInput:
    return TokensInput(type="token", prompt_token_ids=prompt_token_ids)
