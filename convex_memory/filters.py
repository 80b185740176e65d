"""Metadata filters: one grammar for every adapter, tool and function.

A filter is an object. Each member must hold; `{}` matches everything.

    {"lang": "en", "year": {"$gte": 1990, "$lt": 2000}, "$or": [{"a.b": 1}, {"tags": "x"}]}

| form | holds when |
|---|---|
| `field: value`, `$eq` | the field equals the value, or is an array with an element that does |
| `$ne` | `$eq` does not hold; so also when the field is absent |
| `$in: […]`, `$nin: […]` | `$eq` holds for one of the values / for none; `$in: []` never holds |
| `$gt $gte $lt $lte` | both are numbers, or both text (by code point), in that order |
| `$exists: bool` | the field is there, be it null / is not there |
| `$regex: text` | the text has the pattern in it (`patterns`); `$options: "i"` ignores case |
| `$contains: value` | text within text; an element, or each of several elements, of an array; |
| | members of an object, by these same rules |
| `$all: […]` | `$eq` holds for each; `$all: []` never holds |
| `$size: n` | an array of n elements |
| `$elemMatch: {…}` | one element of the array satisfies a filter, or operators (`{"$gt": 1}`) |
| `$not: {…}` | the operators of a field, or at the top a filter, do not hold |
| `$and $or $nor: […]` | all, any, none of the filters hold; `$or: []` never holds |

- Types are strict: `True` is not `1`, `"1"` is not `1`; `1` is `1.0`. Objects and arrays are equal
  when they are so all the way down. `null` equals an explicit null only; absence is `$exists`.
- On an array, `$gt $gte $lt $lte $regex` too hold when they do for an element.
- All operators of one field apply, each on its own: on the array `[0, 9]`, `{"$gt": 5, "$lt": 3}`
  holds. `$elemMatch` asks it of one element.
- A path `a.b` is the field called `a.b` where there is one, otherwise `b` inside `a`. Digits
  index an array; any other name goes on into those of its elements that are objects.
- `{"metadata": {…}}` stands for the inner filter. A field called `metadata` is reached by path.
- A record without metadata matches the empty filter only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from convex_memory.conditions import (
    EVERYTHING,
    NOTHING,
    OPERANDS,
    Condition,
    ConditionReader,
    Element,
    Every,
    Node,
    Not,
    Regex,
    Some,
    every,
    holds,
    ignores_case,
    kind_of,
    limited,
    negate,
    some,
    values_of,
)
from convex_memory.errors import InvalidArgument
from convex_memory.values import Value

Scalar: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Equality:
    """A field that must equal a scalar: what an index can look up."""

    field: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that has been read. Made by `parse` or `from_wire`."""

    root: Node

    @property
    def is_empty(self) -> bool:
        """Whether it matches everything."""
        return self.root == EVERYTHING

    def matches(self, metadata: Mapping[str, Value] | None) -> bool:
        """Whether a record with this metadata satisfies the filter.

        Raises:
            LimitExceeded: A `$regex` met a text longer than `patterns.TEXT_CHARS_MAX`.
        """
        if metadata is None:
            return self.is_empty
        return holds(self.root, metadata)

    def parts(self) -> tuple[Filter, ...]:
        """The filters that must all hold for this one to hold; none for the empty filter."""
        if isinstance(self.root, Every):
            return tuple(Filter(node) for node in self.root.of)
        return (Filter(self.root),)

    def equalities(self) -> dict[str, Scalar]:
        """The fields that must equal a scalar for the filter to hold, whatever else it asks.

        They narrow a search; `matches` still decides. An array field that holds the value
        satisfies the filter too, so an index may use them only for fields that are no arrays.
        """
        found: dict[str, Scalar] = {}
        for part in self.parts():
            match part.root:
                case Condition(path, "eq", None | bool() | int() | float() | str() as value):
                    found.setdefault(path, value)
        return found

    def alternatives(self) -> tuple[Equality, ...] | None:
        """The filter as one or several equalities of which any suffices.

        Returns:
            `None` when it says anything else; `()` when nothing can match. The note on array
            fields under `equalities` holds here too.
        """
        return _alternatives(self.root)


def parse(filter: Mapping[str, object] | None) -> Filter:
    """Read a filter as callers write it.

    Args:
        filter: The grammar above; `None` is the empty filter.

    Raises:
        InvalidArgument: It is not an object, an operator is unknown or has a wrong operand,
            or a value is none that Convex accepts.
        LimitExceeded: Deeper than 16 levels, more than 256 conditions, more than 1000 values
            in one list, or a pattern that is too long.
    """
    if filter is None:
        return Filter(EVERYTHING)
    return Filter(limited(_Parser().filter(filter, 1)))


def to_wire(filter: Filter) -> Value:
    """The filter as functions take it: nested arrays, because `$` cannot begin a field name.

    `["and", [node…]]`, `["or", [node…]]`, `["not", node]`, `["eq", path, value]`,
    `["in", path, [value…]]`, `["gt" | "gte" | "lt" | "lte", path, number | text]`,
    `["exists", path, boolean]`, `["regex", path, pattern, ignoreCase]`,
    `["contains", path, value]`, `["size", path, number]`, `["element", path, node]`. The
    empty filter is `["and", []]`. The remaining operators are written with these: `$ne` is
    `not eq`, `$nin` `not in`, `$nor` `not or`, `$all` `and` of `eq`. Inside `element` the path
    `""` is the element itself.
    """
    return _written(filter.root)


def from_wire(value: Value) -> Filter:
    """Read a filter as functions take it; the inverse of `to_wire`.

    Args:
        value: The nested arrays that `to_wire` describes; `None` is the empty filter.

    Raises:
        InvalidArgument: It is not such an array.
        LimitExceeded: As `parse`.
    """
    if value is None:
        return Filter(EVERYTHING)
    return Filter(limited(_WireReader().node(value, 1)))


def _alternatives(node: Node) -> tuple[Equality, ...] | None:
    match node:
        case Condition(path, "eq", None | bool() | int() | float() | str() as value):
            return (Equality(path, value),)
        case Condition(path, "in", list() as values):
            scalars = [value for value in values if not isinstance(value, Mapping | list)]
            if len(scalars) == len(values):
                return tuple(Equality(path, value) for value in scalars)
        case Some(of):
            branches = [_alternatives(branch) for branch in of]
            known = [branch for branch in branches if branch is not None]
            if len(known) == len(branches):
                return tuple(equality for branch in known for equality in branch)
    return None


class _Parser(ConditionReader):
    """Reads the `$` grammar."""

    def filter(self, filter: object, depth: int) -> Node:
        self.enter(depth)
        if not isinstance(filter, Mapping):
            raise InvalidArgument(
                f'A filter is an object such as {{"lang": "en"}}, not {kind_of(filter)}.'
            )
        inner = filter.get("metadata")
        if isinstance(inner, Mapping) and inner:
            rest = {name: value for name, value in filter.items() if name != "metadata"}
            return every([self.filter(inner, depth + 1), self.filter(rest, depth)])
        return every([self._member(name, value, depth) for name, value in filter.items()])

    def _member(self, name: object, operand: object, depth: int) -> Node:
        if not isinstance(name, str) or not name:
            raise InvalidArgument(f"A filter's field names are non-empty text, not {name!r}.")
        if not name.startswith("$"):
            return self._field(name, operand, depth)
        if name == "$not":
            return self._negated(self.filter(operand, depth + 1))
        if name not in ("$and", "$or", "$nor"):
            raise InvalidArgument(
                f"The filter has the unknown operator {name} where a field name or "
                "$and, $or, $nor or $not may stand. Operators such as $gt stand inside a "
                'field: {"year": {"$gt": 1990}}.'
            )
        if not isinstance(operand, list | tuple):
            raise InvalidArgument(f"The filter's {name} takes a list of filters.")
        branches = [self.filter(branch, depth + 1) for branch in operand]
        if name == "$and":
            return every(branches)
        return some(branches) if name == "$or" else negate(some(branches))

    def _field(self, path: str, operand: object, depth: int) -> Node:
        if not isinstance(operand, Mapping) or not any(
            isinstance(name, str) and name.startswith("$") for name in operand
        ):
            return self.condition(path, "eq", operand)
        return self._operators(path, operand, depth)

    def _operators(self, path: str, operators: Mapping[str, object], depth: int) -> Node:
        if "$options" in operators and "$regex" not in operators:
            raise InvalidArgument("The filter's $options goes with $regex.")
        return every(
            [
                self._operator(path, name, operand, operators, depth)
                for name, operand in operators.items()
                if name != "$options"
            ]
        )

    def _operator(
        self,
        path: str,
        name: str,
        operand: object,
        beside: Mapping[str, object],
        depth: int,
    ) -> Node:
        match name:
            case "$ne":
                return negate(self.condition(path, "eq", operand))
            case "$nin":
                return negate(self.condition(path, "in", operand))
            case "$all":
                wanted = values_of(f"The filter's $all for {path}", operand)
                return every([self.condition(path, "eq", one) for one in wanted] or [NOTHING])
            case "$regex":
                return self.regex(path, operand, ignores_case(beside.get("$options", "")))
            case "$not":
                self.enter(depth + 1)
                return self._negated(self._field(path, operand, depth + 1))
            case "$elemMatch":
                return self._element(path, operand, depth + 1)
            case _ if name[:1] == "$" and name[1:] in OPERANDS:
                return self.condition(path, name[1:], operand)
        raise InvalidArgument(
            f"The filter has the unknown operator {name} for {path}. "
            f"Choose among {', '.join(FIELD_OPERATORS)}."
        )

    def _element(self, path: str, operand: object, depth: int) -> Node:
        self.enter(depth)
        self.count(path)
        if not isinstance(operand, Mapping) or not operand:
            raise InvalidArgument(
                f"The filter's $elemMatch for {path} takes a filter or operators, "
                'for instance {"$gt": 1}.'
            )
        if all(name in FIELD_OPERATORS or name == "$options" for name in operand):
            return Element(path, self._operators("", operand, depth))
        return Element(path, self.filter(operand, depth))

    def _negated(self, node: Node) -> Node:
        if node == EVERYTHING:
            raise InvalidArgument("The filter's $not is empty; say what must not hold.")
        return negate(node)


class _WireReader(ConditionReader):
    """Reads the nested arrays of `to_wire`."""

    def node(self, value: object, depth: int) -> Node:
        self.enter(depth)
        match value:
            case ["and", [*nodes]]:
                return every([self.node(node, depth + 1) for node in nodes])
            case ["or", [*nodes]]:
                return some([self.node(node, depth + 1) for node in nodes])
            case ["not", node]:
                return negate(self.node(node, depth + 1))
            case ["element", str() as path, node]:
                self.count(path)
                return Element(path, self.node(node, depth + 1))
            case ["regex", str() as path, pattern, bool() as ignore_case]:
                return self.regex(path, pattern, ignore_case)
            case [str() as operator, str() as path, operand] if operator in OPERANDS:
                return self.condition(path, operator, operand)
        raise InvalidArgument(
            "A filter is a nested array such as "
            '["and", [["eq", "lang", "en"], ["gt", "year", 1990]]]; this one has a part that '
            f"is none of and, or, not, element, regex, {', '.join(OPERANDS)}."
        )


def _written(node: Node) -> Value:
    match node:
        case Every(of):
            return ["and", [_written(inner) for inner in of]]
        case Some(of):
            return ["or", [_written(inner) for inner in of]]
        case Not(of):
            return ["not", _written(of)]
        case Condition(path, operator, operand):
            return [operator, path, operand]
        case Regex(path, pattern, ignore_case):
            return ["regex", path, pattern, ignore_case]
        case Element(path, of):
            return ["element", path, _written(of)]


FIELD_OPERATORS: Final = (
    "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$not", "$exists",
    "$regex", "$contains", "$all", "$size", "$elemMatch",
)  # fmt: skip
"""The operators that may stand inside a field."""
