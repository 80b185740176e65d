"""What a function of the embedded deployment is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from convex_memory.arguments import Args as Args
from convex_memory.arguments import choice_argument as choice_argument
from convex_memory.arguments import text_argument as text_argument
from convex_memory.arguments import time_argument as time_argument
from convex_memory.arguments import whole_argument as whole_argument
from convex_memory.deployment import Kind
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.tables import Table
from convex_memory.errors import InvalidArgument
from convex_memory.values import Value

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
        small: Whether such a call, with these arguments, reads a few rows by index, so that it
            takes less time than handing it to another thread would.
    """

    kind: Kind
    handler: Handler
    reads: Callable[[Args], bool]
    small: Callable[[Args], bool]


def always(args: Args) -> bool:
    """Say yes to any arguments."""
    return True


def never(args: Args) -> bool:
    """Say no to any arguments."""
    return False


def query(handler: Handler, *, small: Callable[[Args], bool] = never) -> Function:
    """Declare a query."""
    return Function("query", handler, always, small)


def mutation(
    handler: Handler,
    reads: Callable[[Args], bool] = never,
    *,
    small: Callable[[Args], bool] = never,
) -> Function:
    """Declare a mutation; `reads` tells the calls of it that only read."""
    return Function("mutation", handler, reads, small)


def action(handler: Handler) -> Function:
    """Declare an action that only reads, as a vector search does."""
    return Function("action", handler, always, never)


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
