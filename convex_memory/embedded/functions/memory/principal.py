"""`memory/principal:*`: another function, run for one principal and on what is theirs alone.

The gate of everybody who calls from outside. It stands in the deployment, in the transaction of the
function that it runs, so that no caller of the deployment has to be trusted to name the right
resource. `POLICY` says what passes.

What a principal names is stored in the principal's name space. A thread or message that another
program stored with the principal as its resource, under a name outside, is the principal's too and
goes by that name. So an id of somebody else is an id that is free.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from convex_memory.deployment import Kind
from convex_memory.embedded import forgetting
from convex_memory.embedded.documents import Documents
from convex_memory.embedded.functions.function import (
    Args,
    Function,
    SoftRefusal,
    allow_only,
    text_argument,
)
from convex_memory.embedded.functions.memory.policy import Shape, rule_for
from convex_memory.embedded.functions.memory.rows import find_message
from convex_memory.embedded.tables import MESSAGES, OBSERVATIONAL_MEMORY, THREADS
from convex_memory.errors import Forbidden, FunctionError, InvalidArgument
from convex_memory.principals import (
    PRINCIPAL_NAME_CHARS_MAX,
    PRINCIPAL_RULE,
    may_be_principal,
    namespace_of,
)
from convex_memory.values import Value


def gate(kind: Kind, functions: Callable[[], Mapping[str, Function]]) -> Function:
    """Return the gate for functions of one kind."""

    def inner(args: Args) -> Function | None:
        path, given = args.get("path"), args.get("args")
        if not isinstance(path, str) or not isinstance(given, Mapping):
            return None
        return None if rule_for(path, given) is None else functions()[path]

    def reads(args: Args) -> bool:
        function = inner(args)
        return kind != "mutation" or (function is not None and function.reads(args["args"]))

    def small(args: Args) -> bool:
        function = inner(args)
        return function is not None and function.small(args["args"])

    def handle(documents: Documents, args: Args) -> Value:
        allow_only(args, "principal", "path", "args")
        inside = Namespace(documents, _principal(args))
        path, given = text_argument(args, "path"), args.get("args")
        if not isinstance(given, Mapping):
            raise InvalidArgument("args must be an object.")
        rule = rule_for(path, given)
        if rule is None or rule.kind != kind:
            raise Forbidden(f"{path} is not for callers from outside.")
        try:
            answer = functions()[path].handler(documents, inside.put(rule.takes, given))
        except SoftRefusal as refusal:
            raise SoftRefusal(inside.unquoted(refusal.text)) from None
        except FunctionError as error:
            inside.raise_unquoted(error)
        told: Value = inside.take(rule.gives, answer)
        return told

    return Function(kind, handle, reads, small)


def _principal(args: Args) -> str:
    principal: str = text_argument(args, "principal")
    if not may_be_principal(principal):
        raise InvalidArgument(PRINCIPAL_RULE)
    return principal


class Namespace:
    """What is one principal's, seen from inside and from outside.

    Args:
        documents: The transaction.
        principal: Whose it is.
    """

    def __init__(self, documents: Documents, principal: str) -> None:
        self._documents = documents
        self._principal = principal
        self._prefix = namespace_of(principal)

    # --- Arguments

    def put(self, shape: Mapping[str, Shape], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments with the principal's names as they are stored.

        Raises:
            InvalidArgument: There is an argument that the shape does not have, or a name that is
                too long.
        """
        extra = sorted(set(given) - set(shape))
        if extra:
            raise InvalidArgument(
                f"Object contains extra field `{extra[0]}`; the arguments are {', '.join(shape)}."
            )
        placed = {name: self._put(shape[name], value) for name, value in given.items()}
        for name, role in shape.items():
            if role == "namespace":
                placed[name] = self._prefix
            elif isinstance(role, str) and role in _REQUIRED and placed.get(name) is None:
                placed[name] = _ROLES[role](self, None)
        return placed

    def _put(self, shape: Shape, given: Any) -> Any:
        if isinstance(shape, str):
            return _ROLES[shape](self, given)
        if isinstance(shape, Mapping):
            return self.put(shape, given) if isinstance(given, Mapping) else given
        if not isinstance(given, list):
            return given
        if len(shape) == 1 and shape[0] == "message":
            return self._messages(given)
        shapes = _stretched(shape, given)
        return [self._put(each, value) for each, value in zip(shapes, given, strict=True)]

    def owner(self, given: Any) -> Any:
        """Return the principal; in place of another resource, one that nobody has."""
        if given is None or given == self._principal or not isinstance(given, str):
            return self._principal
        return self.name(given)

    def name(self, given: Any) -> Any:
        """Return a name of the principal's as it is stored. What is no name is left as it is."""
        if not isinstance(given, str) or not given:
            return given
        if len(given) > PRINCIPAL_NAME_CHARS_MAX:
            raise InvalidArgument(
                f"Ids, index names and keys have at most {PRINCIPAL_NAME_CHARS_MAX} characters "
                f"here; one has {len(given)}."
            )
        return self._prefix + given

    def thread(self, given: Any) -> Any:
        """Return the id under which a thread of the principal's is, or would be, stored."""
        named = self.name(given)
        return given if isinstance(given, str) and given and self._has_thread(given) else named

    def message(self, given: Any) -> Any:
        """Return the id under which a message of the principal's is, or would be, stored."""
        named = self.name(given)
        return given if isinstance(given, str) and given and self._has_message(given) else named

    def _messages(self, given: list[Any]) -> list[Any]:
        """Return the ids of many messages as `message` does, looking for all of them at once."""
        ids = json.dumps([each for each in given if isinstance(each, str)])
        there = self._documents.connection.execute(_OUTSIDE, (ids, ids, self._principal))
        outside = {row[0] for row in there.fetchall()}
        return [
            self.message(each) if isinstance(each, str) and each in outside else self.name(each)
            for each in given
        ]

    def observation(self, given: Any) -> Any:
        """Return the id under which a generation of the principal's is, or would be, stored."""
        named = self.name(given)
        if isinstance(given, str) and given:
            row = self._documents.first(OBSERVATIONAL_MEMORY, id=given)
            if row is not None and row.fields.get("resourceId") == self._principal:
                return given
        return named

    def lookup(self, given: Any) -> Any:
        """Return the key of the observational memory of the principal, or of their thread."""
        kind, separator, name = given.partition(":") if isinstance(given, str) else ("", "", "")
        if kind == "thread" and name:
            return f"thread:{self.thread(name)}"
        if kind == "resource" and separator:
            return f"resource:{self.owner(name)}"
        raise InvalidArgument("lookupKey must be thread:ID or resource:ID.")

    def lookups(self, given: Any) -> Any:
        """Return a filter by the key of an observational memory.

        Raises:
            Forbidden: It is by something else.
        """
        return _filter_by("lookupKey", given, self.lookup)

    def in_thread(self, given: Any) -> Any:
        """Return a filter by the thread of messages.

        Raises:
            Forbidden: It is by something else.
        """
        return _filter_by("thread_id", given, self.thread)

    def thread_keys(self, given: Any) -> Any:
        """Return keys that name a thread of the principal's.

        Raises:
            Forbidden: They name something else.
        """
        if not isinstance(given, Mapping) or [*given] != ["id"] or not given["id"]:
            raise Forbidden("Callers from outside load a thread by its id.")
        return {"id": self.thread(given["id"])}

    def _has_thread(self, thread_id: str) -> bool:
        row = self._documents.first(THREADS, id=thread_id)
        if row is not None:
            return bool(row.fields["resourceId"] == self._principal)
        if forgetting.discarded(self._documents, THREADS, thread_id, self._principal) is not None:
            return True
        removal = self._documents.connection.execute(
            "SELECT 1 FROM removals WHERE thread = ? AND resource = ?",
            (thread_id, self._principal),
        )
        return removal.fetchone() is not None

    def _has_message(self, message_id: str) -> bool:
        if self._documents.first(MESSAGES, id=message_id) is None:
            kept = forgetting.discarded(self._documents, MESSAGES, message_id, self._principal)
            return kept is not None
        row = find_message(self._documents, message_id, self._principal)
        if row is None:
            return False
        # What stands around it is seen with it, so the thread has to be the principal's as well.
        thread = self._documents.first(THREADS, id=row.fields["thread_id"])
        return thread is None or bool(thread.fields["resourceId"] == self._principal)

    # --- Answers

    def take(self, shape: Shape, answer: Any) -> Any:
        """Return an answer with names as the principal knows them."""
        if answer is None or shape == "plain":
            return answer
        if isinstance(shape, str):
            if not isinstance(answer, str):
                return answer
            return self.unquoted(answer) if shape == "text" else answer.removeprefix(self._prefix)
        if isinstance(shape, Mapping):
            if not isinstance(answer, Mapping):
                return answer
            return {
                name: self.take(shape.get(name, "plain"), value) for name, value in answer.items()
            }
        if not isinstance(answer, list):
            return answer
        shapes = _stretched(shape, answer)
        return [self.take(each, value) for each, value in zip(shapes, answer, strict=True)]

    def unquoted(self, text: str) -> str:
        """Return text without the name space, where it quotes a name."""
        return text.replace(self._prefix, "").replace(ascii(self._prefix)[1:-1], "")

    def raise_unquoted(self, error: FunctionError) -> NoReturn:
        """Raise a refusal again that quotes names as the principal knows them.

        What is under `details` is of fields and numbers, and quotes none.
        """
        raise type(error)(
            self.unquoted(error.message), id=error.id, details=error.details
        ) from None


def _filter_by(field: str, given: Any, role: Callable[[Any], Any]) -> Any:
    only = given[0] if isinstance(given, list) and len(given) == 1 else None
    if not isinstance(only, Mapping) or only.get("field") != field or not only.get("value"):
        raise Forbidden(f"Callers from outside filter by {field}.")
    return [{"field": field, "value": role(only["value"])}]


def _stretched(shape: Sequence[Shape], values: Sequence[Any]) -> Sequence[Shape]:
    """Return a shape for each value: one for all of an array, or the places of a tuple."""
    if len(shape) == 1:
        return [shape[0]] * len(values)
    return [*shape, *(["plain"] * len(values))][: len(values)]


_OUTSIDE: Final = (
    f"SELECT m.id FROM json_each(?) j JOIN {MESSAGES.name} m ON m.id = j.value UNION ALL "
    "SELECT t.id FROM json_each(?) j "
    "JOIN trash t ON t.kind = 'message' AND t.id = j.value AND t.owner = ?"
)
"""Which of some ids messages have outside of every name space, kept ones of an owner included."""

_REQUIRED: Final = frozenset({"owner", "lookup", "lookups", "in_thread", "thread_keys"})
"""Roles without which a call would not be kept within what is the principal's."""

_ROLES: Final[Mapping[str, Callable[[Namespace, Any], Any]]] = {
    "plain": lambda inside, given: given,
    "owner": Namespace.owner,
    "thread": Namespace.thread,
    "message": Namespace.message,
    "observation": Namespace.observation,
    "lookup": Namespace.lookup,
    "lookups": Namespace.lookups,
    "in_thread": Namespace.in_thread,
    "thread_keys": Namespace.thread_keys,
    "name": Namespace.name,
    "key": Namespace.name,
    "namespace": lambda inside, given: given,
}
