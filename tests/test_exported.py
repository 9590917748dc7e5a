"""The public names, locked."""

from __future__ import annotations

import gpt4_instruct
from gpt4_instruct import errors


def test_every_public_name_can_be_had_and_stands_in_order():
    assert gpt4_instruct.__all__ == sorted(gpt4_instruct.__all__)
    assert set(gpt4_instruct.__all__) == {*gpt4_instruct._MODULE, "__version__"}
    for name in gpt4_instruct.__all__:
        assert getattr(gpt4_instruct, name) is not None
    assert dir(gpt4_instruct) == gpt4_instruct.__all__


def test_every_error_is_public_and_drawn_in_the_tree():
    classes = {name for name, value in vars(errors).items() if getattr(value, "__module__", "") == errors.__name__}
    assert classes == set(errors.__all__)
    assert classes <= set(gpt4_instruct.__all__)
    for name in classes:
        assert issubclass(getattr(errors, name), gpt4_instruct.Gpt4InstructError)
        assert name in (errors.__doc__ or ""), f"{name} is missing in the tree at the top of errors.py"


def test_an_unknown_name_is_an_attribute_error():
    try:
        gpt4_instruct.nothing_of_that_name  # noqa: B018
    except AttributeError as error:
        assert "nothing_of_that_name" in str(error)
    else:
        raise AssertionError
