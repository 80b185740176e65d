"""What a function of the embedded deployment is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from convex_memory.deployment import Kind
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.tables import Table
from convex_memory.errors import InvalidArgument
from convex_memory.values import Value

Args: TypeAlias = Mapping[str, Any]
Handler: TypeAlias = Callable[[Documents, Args], Value]


@dataclass(frozen=True, slots=True)
class Function:
    """One callable path.

    Attributes:
        kind: What callers must call it as.
        handler: Runs inside one transaction and returns a JSON value.
        reads: Whether a call with these arguments only reads, so that it may run on a
            snapshot beside others. A handler that then writes after all is run again as a
            write.
    """

    kind: Kind
    handler: Handler
    reads: Callable[[Args], bool]


def query(handler: Handler) -> Function:
    """Declare a query."""
    return Function("query", handler, lambda args: True)


def mutation(handler: Handler, reads: Callable[[Args], bool] = lambda args: False) -> Function:
    """Declare a mutation; `reads` tells the calls of it that only read."""
    return Function("mutation", handler, reads)


def action(handler: Handler) -> Function:
    """Declare an action that only reads, as a vector search does."""
    return Function("action", handler, lambda args: True)


@dataclass(frozen=True, slots=True)
class TableOperation:
    """A storage operation that only one table has.

    Attributes:
        table: The table.
        run: What it does and answers.
        reads: Whether it only reads.
        soft: Whether another typed table refuses it softly (`Unsupported operation …`) or
            with an error (`… is only supported for …`).
    """

    table: Table
    run: Handler
    reads: bool = False
    soft: bool = True


class SoftRefusal(Exception):
    """Rolls the transaction back and answers `{ok: false, error}` instead of an error.

    The protocol's "soft" errors are answers of the function, not failures of the call.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def text_argument(args: Args, name: str, *, optional: bool = False) -> Any:
    """Return a non-empty text argument, or None where it is optional and absent.

    Raises:
        InvalidArgument: It is missing, empty, or not text.
    """
    value = args.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, str) or not value:
        raise InvalidArgument(f"{name} must be non-empty text.")
    return value


def whole_argument(args: Args, name: str, least: int, most: int, default: int | None = None) -> int:
    """Return an integer argument between `least` and `most`.

    Raises:
        InvalidArgument: It is missing without a default, not an integer, or out of range.
    """
    value = args.get(name, default)
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or value != int(value)
        or not least <= value <= most
    ):
        raise InvalidArgument(f"{name} must be an integer between {least} and {most}.")
    return int(value)


def choice_argument(args: Args, name: str, choices: tuple[str, ...]) -> str:
    """Return a text argument that is one of `choices`; the first of them when it is absent.

    Raises:
        InvalidArgument: It is something else.
    """
    value = args.get(name)
    if value is None:
        return choices[0]
    if value not in choices:
        raise InvalidArgument(f"{name} must be one of {', '.join(choices)}.")
    return str(value)


def allow_only(args: Args, *names: str) -> None:
    """Refuse arguments that the function does not have.

    Raises:
        InvalidArgument: There is one; the message lists those there are.
    """
    extra = sorted(set(args) - set(names))
    if extra:
        raise InvalidArgument(
            f"Object contains extra field `{extra[0]}`; the arguments are {', '.join(names)}."
        )
