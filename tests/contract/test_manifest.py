"""The manifest and the tests say the same."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from convex_memory.deployment import STORAGE_FUNCTION
from tests.contract.conftest import chosen_legs, live_deployment
from tests.contract.exclusions import Exclusion
from tests.contract.legs import DEFAULT, LEGS, Live
from tests.contract.manifest import REQUIREMENTS, excluding
from tests.contract.requirements import CITED, Requirement

REASON = "because it is so"


def test_every_requirement_is_shown_by_a_test_and_every_test_shows_one_that_is_there() -> None:
    for path in Path(__file__).parent.glob("test_*.py"):
        import_module(f"tests.contract.{path.stem}")
    assert set(CITED) == set(REQUIREMENTS)


def test_every_exclusion_names_a_leg_and_has_a_reason() -> None:
    for name, requirement in REQUIREMENTS.items():
        assert requirement.behaviour.endswith("."), name
        for leg, reason in requirement.excluded.items():
            assert leg in LEGS, name
            assert len(reason) > 10, name


def test_every_requirement_is_shown_here() -> None:
    for name, requirement in REQUIREMENTS.items():
        assert set(DEFAULT) - requirement.excluded.keys(), name


def test_an_excluded_requirement_is_not_run(
    request: pytest.FixtureRequest,
) -> None:
    for item in request.session.items:
        for mark in item.iter_markers("requirement"):
            assert leg_of(item) not in REQUIREMENTS[mark.args[0]].excluded, item.nodeid


def leg_of(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("leg")


PROMISED = {"a:x": Requirement("X."), "a:y": Requirement("Y."), "b": Requirement("B.")}


def test_a_group_is_excluded_by_a_pattern() -> None:
    written = excluding(PROMISED, [Exclusion(("live", "mastra"), REASON, ("a:*",))])
    reasons = {"live": REASON, "mastra": REASON}
    assert {name: each.excluded for name, each in written.items()} == {
        "a:x": reasons,
        "a:y": reasons,
        "b": {},
    }


@pytest.mark.parametrize(
    ("names", "refusal"),
    [(("c",), "c names no requirement"), (("b", "*"), "b is excluded twice from live")],
)
def test_an_exclusion_that_says_nothing_new_is_an_error(
    names: tuple[str, ...], refusal: str
) -> None:
    with pytest.raises(ValueError, match=refusal):
        excluding(PROMISED, [Exclusion(("live",), REASON, names)])


def test_legs_are_chosen_by_name_or_by_what_there_is() -> None:
    deployed = Live("https://a.convex.cloud", "key", STORAGE_FUNCTION)
    assert chosen_legs(None, None) == [*DEFAULT]
    assert chosen_legs(None, deployed) == [*DEFAULT, "live"]
    assert chosen_legs("mastra,live-empty", deployed) == ["mastra", "live-empty"]
    with pytest.raises(pytest.UsageError, match="No leg convex; there are embedded"):
        chosen_legs("embedded,convex", deployed)
    with pytest.raises(pytest.UsageError, match="live needs CONVEX_TEST_URL"):
        chosen_legs("live", None)


def test_the_environment_names_a_deployment_with_its_key() -> None:
    named = {"CONVEX_TEST_URL": "https://a.convex.cloud", "CONVEX_TEST_ADMIN_KEY": "key"}
    assert live_deployment({}) is None
    assert live_deployment(named) == Live("https://a.convex.cloud", "key", STORAGE_FUNCTION)
    elsewhere = live_deployment({**named, "CONVEX_TEST_STORAGE_FUNCTION": "app/store:run"})
    assert elsewhere == Live("https://a.convex.cloud", "key", "app/store:run")
    with pytest.raises(pytest.UsageError, match="CONVEX_TEST_ADMIN_KEY"):
        live_deployment({"CONVEX_TEST_URL": "https://a.convex.cloud"})
