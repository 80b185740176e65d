"""What principals may call: the two tables are one, and say something of every argument."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from convex_memory.deployment import CACHE_FUNCTION, STORAGE_FUNCTION
from convex_memory.embedded.functions import FUNCTIONS
from convex_memory.embedded.functions.memory.policy import POLICY, Shape
from convex_memory.embedded.functions.memory.principal import _ROLES
from convex_memory.principals import may_be_principal, namespace_in, namespace_of

CONVEX: Final = Path(__file__).parents[1] / "convex" / "memory"
REFUSED: Final = {
    "memory/changes:list",
    "memory/embeddings:begin",
    "memory/embeddings:claim",
    "memory/embeddings:reembed",
    "memory/embeddings:release",
    "memory/embeddings:status",
    "memory/embeddings:store",
    "memory/forgetting:sweep",
    "memory/principal:action",
    "memory/principal:mutation",
    "memory/principal:query",
    "memory/schedules:claim",
    "memory/transfer:page",
    "memory/transfer:restore",
    "memory/transfer:tables",
    "mastra/nativeVector:query",
    "mastra/nativeVector:read",
    "mastra/nativeVector:write",
}
"""Functions of the deployment as a whole, or of tables without an owner."""


def test_every_function_is_either_kept_within_what_is_the_principals_or_refused() -> None:
    ruled = {name.split(" ")[0] for name in POLICY}
    assert ruled | REFUSED == set(FUNCTIONS)
    assert not ruled & REFUSED
    for name, rule in POLICY.items():
        assert rule.kind == FUNCTIONS[name.split(" ")[0]].kind


def test_both_halves_have_the_same_table() -> None:
    text = (CONVEX / "lib" / "policy.ts").read_text(encoding="utf-8")
    table = re.search(r"POLICY: Readonly<Record<string, Rule>> = (\{.*?^\});", text, re.M | re.S)
    assert table is not None
    theirs = json.loads(re.sub(r",(\s*[}\]])", r"\1", table[1]))
    ours = {
        name: {"kind": rule.kind, "takes": rule.takes, "gives": rule.gives}
        for name, rule in POLICY.items()
    }
    assert theirs == json.loads(json.dumps(ours))


def test_both_halves_know_every_role() -> None:
    roles = {role for rule in POLICY.values() for role in roles_in(rule.takes)}
    assert roles == set(_ROLES)
    text = (CONVEX / "lib" / "namespaces.ts").read_text(encoding="utf-8")
    assert set(re.findall(r'^      \["(\w+)", ', text, re.M)) == roles


@pytest.mark.parametrize("name", [name for name in POLICY if name.startswith("memory/")])
def test_a_rule_says_something_of_every_argument(name: str) -> None:
    module, function = name.removeprefix("memory/").split(":")
    text = (CONVEX / f"{module}.ts").read_text(encoding="utf-8")
    declared = re.search(
        rf"export const {function} = internal\w+\(\{{\s+args: \{{(.*?)\}},\n", text, re.S
    )
    assert declared is not None
    arguments = set(re.findall(r"(\w+): ", re.sub(r"\(.*?\)", "", declared[1])))
    assert arguments == set(POLICY[name].takes)


NAMES_ONE: Final = re.compile(r"(?i)(^id$|ids?$|keys?$|index|thread|message|resource|prefix)")
NAMES_NONE: Final = {
    "memory/vectors:update": {"id"},
    "memory/vectors:remove": {"ids"},
    "memory/threads:clone": {"messageLimit"},
    "memory/search:messages": {"idsOnly"},
    "memory/vectors:deleteIndex": {"keepIndex"},
}
"""Arguments whose names say otherwise: a vector is named within its index."""


@pytest.mark.parametrize("name", POLICY)
def test_what_names_something_is_not_passed_on_as_it_is(name: str) -> None:
    for argument, shape in members_in(POLICY[name].takes):
        if NAMES_ONE.search(argument) and argument not in NAMES_NONE.get(name, ()):
            assert shape != "plain" or argument.startswith(("buffered", "is", "pendingMess")), (
                argument
            )


def test_calls_that_name_a_resource_name_the_principals() -> None:
    for name, rule in POLICY.items():
        if name.startswith(("memory/vectors", CACHE_FUNCTION, STORAGE_FUNCTION)):
            continue
        assert name == "memory/meta:version" or "owner" in set(roles_in(rule.takes)), name


@pytest.mark.parametrize(
    "name", ["a", "alice", "~5:alice:", "1:a", "a:b", "\N{SNOWMAN}\N{PILE OF POO}", "5:alice"]
)
def test_no_name_space_is_the_beginning_of_another(name: str) -> None:
    others = ["a", "al", "alice", "alice:", "5:alice", "a:b", "1:a", "\N{SNOWMAN}"]
    if not may_be_principal(name):
        return
    own = namespace_of(name)
    assert namespace_in(f"{own}x") == own == namespace_in(own)
    for other in others:
        if other != name:
            assert not namespace_of(other).startswith(own)
            assert not own.startswith(namespace_of(other))


@pytest.mark.parametrize("name", ["", "x", "~", "~5:alice", "~x:alice:", "~-1:a:", "~9:alice:x"])
def test_a_name_in_no_name_space_has_none(name: str) -> None:
    assert namespace_in(name) == ""


def roles_in(shape: Shape) -> Iterator[str]:
    if isinstance(shape, str):
        yield shape
    else:
        for each in shape.values() if isinstance(shape, Mapping) else shape:
            yield from roles_in(each)


def members_in(shape: Any) -> Iterator[tuple[str, Shape]]:
    if isinstance(shape, Mapping):
        for name, each in shape.items():
            yield name, each
            yield from members_in(each)
    elif not isinstance(shape, str):
        for each in shape:
            yield from members_in(each)
