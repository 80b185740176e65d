"""The manifest and the tests say the same."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.contract.conftest import LEGS, all_requirements
from tests.contract.requirements import CITED


def test_every_requirement_is_shown_by_a_test_and_every_test_shows_one_that_is_there() -> None:
    for path in Path(__file__).parent.glob("test_*.py"):
        import_module(f"tests.contract.{path.stem}")
    assert set(CITED) == set(all_requirements())


def test_every_exclusion_names_a_leg_and_has_a_reason() -> None:
    for name, requirement in all_requirements().items():
        assert requirement.behaviour.endswith("."), name
        for leg, reason in requirement.excluded.items():
            assert leg in {*LEGS, "convex-test", "live"}, name
            assert len(reason) > 10, name
