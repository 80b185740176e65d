"""`mastra/storage:handle`: every storage operation of the wire protocol.

A request is `{op, tableName, …}`. The logical table decides the route: a typed table, the rows
of one vector index, or generic documents; each route has its own table of operations.

Errors: on the routes of vectors and of background tasks a failure is answered softly
(`{ok: false, error}`), elsewhere the call fails. Either way nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from convex_memory.embedded.documents import Documents
from convex_memory.embedded.functions.function import Args, SoftRefusal, TableOperation
from convex_memory.embedded.functions.mastra import (
    memory_operations,
    observations,
    schedules,
    workflows,
)
from convex_memory.embedded.functions.mastra.background_tasks import BackgroundTaskRoute
from convex_memory.embedded.functions.mastra.routes import (
    GenericRoute,
    Route,
    TypedRoute,
    VectorRoute,
)
from convex_memory.embedded.tables import BACKGROUND_TASKS, TYPED_TABLES
from convex_memory.errors import FunctionError
from convex_memory.values import Value

VECTOR_PREFIX: Final = "mastra_vector_"
READS: Final = frozenset({"load", "loadMany", "queryTable"})
TABLE_OPERATIONS: Final[Mapping[str, TableOperation]] = {
    **memory_operations.OPERATIONS,
    **observations.OPERATIONS,
    **workflows.OPERATIONS,
    **schedules.OPERATIONS,
}
"""Operations that only one table has, by name."""


def reads(args: Args) -> bool:
    """Whether this request only reads."""
    op = str(args.get("op"))
    operation = TABLE_OPERATIONS.get(op)
    return op in READS or (operation is not None and operation.reads)


def loads(args: Args) -> bool:
    """Whether this request reads single rows by their keys."""
    return args.get("op") in ("load", "loadMany")


def handle(documents: Documents, args: Args) -> Value:
    """Run one storage request and return its envelope."""
    name = args.get("tableName")
    if not isinstance(name, str):
        raise SoftRefusal("Cannot read properties of undefined (reading 'startsWith')")
    table = TYPED_TABLES.get(name)
    if table is BACKGROUND_TASKS:
        route: Route = BackgroundTaskRoute(documents, name, TABLE_OPERATIONS)
        soft = True
    elif table is not None:
        route, soft = TypedRoute(documents, table, name, TABLE_OPERATIONS), False
    elif name.startswith(VECTOR_PREFIX):
        route, soft = VectorRoute(documents, name.removeprefix(VECTOR_PREFIX)), True
    else:
        route, soft = GenericRoute(documents, name), False
    try:
        return route.run(args)
    except FunctionError as error:
        if soft:
            raise SoftRefusal(error.message) from error
        raise
