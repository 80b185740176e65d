"""What a filter says, as values: the nodes, their simplest form, and whether they hold."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, cast

from convex_memory.errors import InvalidArgument, LimitExceeded
from convex_memory.limits import DOCUMENT_NESTING_MAX, FIELD_NAME_CHARS_MAX
from convex_memory.patterns import compile_pattern
from convex_memory.values import Value, check, strict_equal


@dataclass(frozen=True, slots=True)
class Every:
    """All of these hold. Empty: always."""

    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of these holds. Empty: never."""

    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """This does not hold."""

    of: Node


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of one field. The path `""` is the value itself, inside `Element`."""

    path: str
    operator: str
    operand: Value


@dataclass(frozen=True, slots=True)
class Regex:
    """The field has the pattern in it."""

    path: str
    pattern: str
    ignore_case: bool


@dataclass(frozen=True, slots=True)
class Element:
    """One element of the array field satisfies all of the inner node."""

    path: str
    of: Node


Node: TypeAlias = Every | Some | Not | Condition | Regex | Element

EVERYTHING: Final = Every(())
NOTHING: Final = Some(())

FILTER_DEPTH_MAX: Final = 16
"""Levels of `$and`, `$or`, `$nor`, `$not` and `$elemMatch`."""
FILTER_CONDITIONS_MAX: Final = 256
FILTER_VALUES_MAX: Final = 1000
"""Values of one `$in` or `$nin`."""


def every(nodes: Sequence[Node]) -> Node:
    """The conjunction of some nodes, in its simplest form."""
    flat: list[Node] = []
    for node in nodes:
        flat.extend(node.of if isinstance(node, Every) else (node,))
    return flat[0] if len(flat) == 1 else Every(tuple(flat))


def some(nodes: Sequence[Node]) -> Node:
    """The disjunction of some nodes, in its simplest form."""
    flat: list[Node] = []
    for node in nodes:
        flat.extend(node.of if isinstance(node, Some) else (node,))
    if EVERYTHING in flat:
        return EVERYTHING
    return flat[0] if len(flat) == 1 else Some(tuple(flat))


def negate(node: Node) -> Node:
    """The opposite of a node, in its simplest form."""
    if node == EVERYTHING:
        return NOTHING
    return EVERYTHING if node == NOTHING else Not(node)


# --- Reading


def limited(node: Node) -> Node:
    """The node itself.

    Raises:
        LimitExceeded: It is nested more than 16 deep.
    """
    # Counted on what was read, because each spelling nests in its own way.
    _refuse_deeper_than_limit(_depth(node))
    return node


def _depth(node: Node) -> int:
    match node:
        case Every(of) | Some(of):
            return 1 + max(map(_depth, of), default=0)
        case Not(of) | Element(_, of):
            return 1 + _depth(of)
    return 1


def _refuse_deeper_than_limit(depth: int) -> None:
    if depth > FILTER_DEPTH_MAX:
        raise LimitExceeded(
            f"The filter is nested more than {FILTER_DEPTH_MAX} deep. Flatten its $and and $or."
        )


class ConditionReader:
    """What both spellings of a filter have in common: budgets and operands."""

    def __init__(self) -> None:
        self._conditions = 0

    def enter(self, depth: int) -> None:
        """Refuse to read on below the deepest level."""
        _refuse_deeper_than_limit(depth)

    def condition(self, path: str, operator: str, operand: object) -> Condition:
        """One condition, its operand checked."""
        self.count(path)
        where = f"The filter's ${operator} for {path or 'an element'}"
        return Condition(path, operator, OPERANDS[operator](where, operand))

    def regex(self, path: str, pattern: object, ignore_case: bool) -> Regex:
        """One pattern, checked."""
        self.count(path)
        if not isinstance(pattern, str):
            raise InvalidArgument(f"The filter's $regex for {path or 'an element'} takes text.")
        compile_pattern(pattern, ignore_case)
        return Regex(path, pattern, ignore_case)

    def count(self, path: str) -> None:
        """Spend one condition of the budget, on a field of this name."""
        self._conditions += 1
        if self._conditions > FILTER_CONDITIONS_MAX:
            raise LimitExceeded(
                f"The filter has more than {FILTER_CONDITIONS_MAX} conditions. "
                "Use $in for many values of one field."
            )
        if len(path) > FIELD_NAME_CHARS_MAX:
            raise LimitExceeded(
                f"The filter names a field of {len(path)} characters; "
                f"at most {FIELD_NAME_CHARS_MAX} are allowed."
            )


def kind_of(value: object) -> str:
    """What to call a value of the wrong type in an error."""
    return "null" if value is None else f"a {type(value).__name__}"


def _any_value(where: str, operand: object) -> Value:
    value = cast(Value, operand)
    check(value, where, nesting_max=DOCUMENT_NESTING_MAX)
    return value


def _comparable(where: str, operand: object) -> Value:
    if isinstance(operand, bool) or not isinstance(operand, int | float | str):
        raise InvalidArgument(f"{where} takes a number or text, not {kind_of(operand)}.")
    return _any_value(where, operand)


def values_of(where: str, operand: object) -> list[Value]:
    """The operand of an operator that takes a list, checked and copied."""
    if not isinstance(operand, list | tuple):
        raise InvalidArgument(f"{where} takes a list of values, not {kind_of(operand)}.")
    if len(operand) > FILTER_VALUES_MAX:
        raise LimitExceeded(
            f"{where} lists {len(operand)} values; at most {FILTER_VALUES_MAX} are allowed."
        )
    return [_any_value(f"{where}, value {position},", one) for position, one in enumerate(operand)]


def _truth(where: str, operand: object) -> bool:
    if not isinstance(operand, bool):
        raise InvalidArgument(f"{where} takes true or false, not {kind_of(operand)}.")
    return operand


def _count_of(where: str, operand: object) -> int:
    whole = isinstance(operand, int | float) and not isinstance(operand, bool)
    number = cast(float, operand)
    if not whole or number < 0 or number != number // 1:
        raise InvalidArgument(f"{where} takes a whole number from 0 up.")
    return int(number)


def ignores_case(options: object) -> bool:
    """Whether `$options` asks for it; anything but `""` and `"i"` is refused."""
    if options not in ("", "i"):
        raise InvalidArgument('The filter\'s $options may only be "i", which ignores case.')
    return options == "i"


OPERANDS: Final[Mapping[str, Callable[[str, object], Value]]] = {
    "eq": _any_value,
    "in": values_of,
    "gt": _comparable,
    "gte": _comparable,
    "lt": _comparable,
    "lte": _comparable,
    "exists": _truth,
    "contains": _any_value,
    "size": _count_of,
}


# --- Evaluation


def holds(node: Node, document: Value) -> bool:
    """Whether a node holds for a document, or inside `Element` for any value."""
    match node:
        case Every(of):
            return all(holds(inner, document) for inner in of)
        case Some(of):
            return any(holds(inner, document) for inner in of)
        case Not(of):
            return not holds(of, document)
        case Condition(path, "exists", operand):
            return bool(values_at(document, path)) is operand
        case Condition(path, name, operand):
            test = _TESTS[name]
            return any(test(value, operand) for value in values_at(document, path))
        case Regex(path, pattern, ignore_case):
            compiled = compile_pattern(pattern, ignore_case)
            return any(
                isinstance(text, str) and compiled.found_in(text)
                for value in values_at(document, path)
                for text in _itself_and_elements(value)
            )
        case Element(path, of):
            return any(
                holds(of, element)
                for value in values_at(document, path)
                if isinstance(value, list | tuple)
                for element in value
            )


def values_at(document: Value, path: str) -> list[Value]:
    """The values a path leads to: none when absent, several through an array of objects."""
    if not path:
        return [document]
    if not isinstance(document, Mapping):
        return []
    if path in document:
        return [document[path]]
    if "." not in path:
        return []
    found: list[Value] = [document]
    for name in path.split("."):
        found = [inner for value in found for inner in _members(value, name)]
    return found


def _members(value: Value, name: str) -> list[Value]:
    if isinstance(value, Mapping):
        return [value[name]] if name in value else []
    if not isinstance(value, list | tuple):
        return []
    if name.isascii() and name.isdigit():
        return [value[int(name)]] if len(name) <= 9 and int(name) < len(value) else []
    return [item[name] for item in value if isinstance(item, Mapping) and name in item]


def equal(left: Value, right: Value) -> bool:
    """Equality of JSON values all the way down, with strict types."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(equal(left[name], right[name]) for name in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    return strict_equal(left, right)


def _itself_and_elements(value: Value) -> Sequence[Value]:
    return (value, *value) if isinstance(value, list | tuple) else (value,)


def _equals(value: Value, operand: Value) -> bool:
    return any(equal(candidate, operand) for candidate in _itself_and_elements(value))


def _is_in(value: Value, operand: Value) -> bool:
    return isinstance(operand, list | tuple) and any(_equals(value, one) for one in operand)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ordered(compare: Callable[[Any, Any], bool], value: Value, operand: Value) -> bool:
    return any(
        compare(candidate, operand)
        for candidate in _itself_and_elements(value)
        if (_is_number(candidate) and _is_number(operand))
        or (isinstance(candidate, str) and isinstance(operand, str))
    )


def _contains(value: Value, operand: Value) -> bool:
    if isinstance(value, str):
        return isinstance(operand, str) and operand in value
    if isinstance(value, list | tuple):
        wanted = operand if isinstance(operand, list | tuple) else (operand,)
        return all(any(equal(item, one) for item in value) for one in wanted)
    if isinstance(value, Mapping) and isinstance(operand, Mapping):
        return all(
            name in value and (equal(value[name], inner) or _contains(value[name], inner))
            for name, inner in operand.items()
        )
    return False


def _has_size(value: Value, operand: Value) -> bool:
    return isinstance(value, list | tuple) and len(value) == operand


_TESTS: Final[Mapping[str, Callable[[Value, Value], bool]]] = {
    "eq": _equals,
    "in": _is_in,
    "gt": partial(_ordered, operator.gt),
    "gte": partial(_ordered, operator.ge),
    "lt": partial(_ordered, operator.lt),
    "lte": partial(_ordered, operator.le),
    "contains": _contains,
    "size": _has_size,
}
