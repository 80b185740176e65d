"""The public surface of the library is a decision."""

from __future__ import annotations

import inspect

import pytest

import convex_memory
from convex_memory import errors


def test_every_public_name_is_there_and_no_other_is_promised() -> None:
    homes = {name for names in convex_memory._HOMES.values() for name in names}
    assert set(convex_memory.__all__) == homes
    assert len(convex_memory.__all__) == len(homes)
    assert dir(convex_memory) == sorted(homes)
    for name in convex_memory.__all__:
        assert getattr(convex_memory, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        convex_memory.Nothing  # noqa: B018


def test_every_error_is_public_and_has_a_code_of_its_own() -> None:
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass)]
    public = [each for each in classes if issubclass(each, errors.ConvexMemoryError)]
    assert {each.__name__ for each in public} <= set(convex_memory.__all__)
    codes = [each.code for each in public]
    assert len(codes) == len(set(codes))
