"""Recovers instruction and input, exactly, from a prompt that is already rendered in the Alpaca format.

What comes back always renders to the very same prompt, with one exception: a prompt with an empty input section. It is
the only pair that does, unless a field itself holds the format's markers. Then there are several, and one is chosen:

- ``### Input:`` counts where it stands first: what quotes the format is the input more often than the instruction.
- ``### Response:`` counts where it stands last in a prompt alone, and first in a text that goes on with the response:
  a response that quotes the format is more likely than an instruction that does.
"""

from __future__ import annotations

from gpt4_instruct.prompts.tasks import ALPACA, ALPACA_NO_INPUT

__all__ = ["recover", "recover_prompt"]

_WITH_INPUT, _, _REST = ALPACA.partition("{instruction}")
_NO_INPUT, _, _RESPONSE = ALPACA_NO_INPUT.partition("{instruction}")
_INPUT = _REST.partition("{input}")[0]


def recover_prompt(prompt: str) -> tuple[str, str] | None:
    r"""The (instruction, input) of a rendered prompt; none when it is not in the Alpaca format, or goes on behind it.

    >>> from gpt4_instruct.prompts.tasks import render_alpaca
    >>> recover_prompt(render_alpaca("Add.", "1\n2")), recover_prompt(render_alpaca("Say hi.")), recover_prompt("Hi.")
    (('Add.', '1\n2'), ('Say hi.', ''), None)
    """
    body = prompt.rstrip()
    return _fields(body.removesuffix(_RESPONSE)) if body.endswith(_RESPONSE) else None


def recover(text: str) -> tuple[str, str, str] | None:
    r"""The (instruction, input, response) of a rendered prompt that its response follows, if it is one.

    One newline or space between marker and response belongs to the format.

    >>> from gpt4_instruct.prompts.tasks import render_alpaca
    >>> recover(render_alpaca("Say hi.") + "\nHi.")
    ('Say hi.', '', 'Hi.')
    """
    # Behind the head only: an instruction may begin with what, together with the head's end, looks like the marker.
    head = next((each for each in (_WITH_INPUT, _NO_INPUT) if text.startswith(each)), None)
    if head is None:
        return None
    body, marker, response = text[len(head) :].partition(_RESPONSE)
    fields = _fields(head + body) if marker else None
    return None if fields is None else (*fields, response[1:] if response[:1] in {"\n", " "} else response)


def _fields(body: str) -> tuple[str, str] | None:
    if body.startswith(_WITH_INPUT):
        instruction, _, input = body[len(_WITH_INPUT) :].partition(_INPUT)
        return instruction, input
    if body.startswith(_NO_INPUT):
        return body[len(_NO_INPUT) :], ""
    return None
