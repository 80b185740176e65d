"""What can be seen from outside of a function that ran in a transaction: times, no content."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast


@dataclass(frozen=True, slots=True)
class Transaction:
    """One function's part in a transaction.

    Attributes:
        writes: Whether it was a write, which shares its commit with others.
        submitted_ns: When it was asked for, in nanoseconds since the epoch.
        waited_ns: How long it waited for its turn.
        ran_ns: How long it ran.
        settled_ns: From its end to its answer: for a write, the commit.
    """

    writes: bool
    submitted_ns: int
    waited_ns: int
    ran_ns: int
    settled_ns: int


Observe = Callable[[Transaction], None]


WorkT = TypeVar("WorkT", bound=Callable[..., Any])


@contextmanager
def observed(work: WorkT, observe: Observe | None, *, writes: bool) -> Iterator[WorkT]:
    """Tell how long a function waited, ran and took to settle, once it is answered.

    Args:
        work: The function; what is yielded is to run in its place, again if need be.
        observe: Whom to tell; nobody, then nothing is taken.
        writes: Whether it writes.
    """
    if observe is None:
        yield work
        return
    epoch_ns = time.time_ns()
    submitted = began = ended = time.perf_counter_ns()

    def watched(documents: Any) -> Any:
        nonlocal began, ended
        began = ended = time.perf_counter_ns()
        try:
            return work(documents)
        finally:
            ended = time.perf_counter_ns()

    try:
        yield cast(WorkT, watched)
    finally:
        settled = time.perf_counter_ns() - ended
        observe(Transaction(writes, epoch_ns, began - submitted, ended - began, settled))
