"""Requests to the HTTP function API: who sends them, and which call they ask for."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio.to_thread
from starlette.requests import Request

from convex_memory.deployment import Kind
from convex_memory.limits import REQUEST_BODY_BYTES_MAX
from convex_memory.values import Value

INSTANCE_NAME: Final = "convex-memory"

_ENCODED_BY_FORMAT: Final = {
    "json": False,
    "convex_clean_json": False,
    "convex_json": True,
    "convex_encoded_json": True,
}
_THREAD_BYTES: Final = 64 << 10
"""Bodies larger than this are parsed in a thread: 16 MiB would hold the event loop for long."""
_INTEGER_DIGITS_EXACT: Final = 15
"""Every integer of so many digits is a float64; longer ones are read as the wire means them."""
_PATH = re.compile(r"([A-Za-z0-9_.]+(?:/[A-Za-z0-9_.]+)*)(?::([A-Za-z_][A-Za-z0-9_]*))?")


class Refused(Exception):
    """The request never reached a function; `status`, `code` and `message` say why."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Flaw:
    """Stands in parsed JSON where a special value was that cannot be taken."""

    message: str


@dataclass(frozen=True, slots=True)
class Call:
    """One function call asked for.

    Args:
        module: The module path without `.js`.
        function: The name in the module.
        kind: What the route asks for; None runs any kind.
        args: The arguments; a `Flaw` stands where one cannot be taken.
        encoded: Whether numbers without JSON text are answered as `{"$float": …}`.
    """

    module: str
    function: str
    kind: Kind | None
    args: Mapping[str, Value]
    encoded: bool

    @property
    def path(self) -> str:
        """`module:function`, as the deployment is asked for it."""
        return f"{self.module}:{self.function}"

    @property
    def label(self) -> str:
        """`module.js:function`, as Convex's messages name it."""
        return f"{self.module}.js:{self.function}"

    @property
    def absent(self) -> str:
        """What the route says of a function that does not exist."""
        if self.kind is None:
            return (
                f"Could not find function for '{self.path}'. "
                "Did you forget to run `npx convex dev`?"
            )
        return f"Could not find public function for '{self.path}'."


def is_admin(request: Request, admin_key: str) -> bool:
    """Whether the caller holds the admin key; False is a caller who showed no key at all.

    Raises:
        Refused: The key is a wrong one, or the header is not one for an admin key.
    """
    header = request.headers.get("authorization")
    if header is None:
        presented = request.query_params.get("adminKey")
        if presented is None:
            return False
    else:
        scheme, _, presented = header.partition(" ")
        if scheme.lower() == "bearer":
            raise Refused(
                401, "NoAuthProvider", "No auth provider is configured here. Send an admin key."
            )
        if scheme.lower() != "convex" or not presented.strip():
            raise Refused(
                401, "InvalidAuthHeader", "Expected the header `Authorization: Convex <admin key>`."
            )
    if not _matches(presented.strip(), admin_key):
        raise bad_key()
    return True


def _matches(presented: str, admin_key: str) -> bool:
    unsuffixed = _without_identity(presented)
    equal = [
        hmac.compare_digest(
            _without_type(shown).encode("utf-8", "replace"), _without_type(admin_key).encode()
        )
        for shown in (presented, unsuffixed)
    ]
    return any(equal)


def _without_type(key: str) -> str:
    return key.removeprefix("prod:").removeprefix("dev:")


def _without_identity(key: str) -> str:
    """The key without `:base64(JSON identity)`, which asks to act as a user."""
    shorter, _, suffix = key.rpartition(":")
    try:
        identity = json.loads(base64.b64decode(suffix, validate=True))
    except (ValueError, RecursionError):
        return key
    return shorter if isinstance(identity, dict) else key


def bad_key() -> Refused:
    """The refusal of a wrong key, or of none where one is required."""
    return Refused(
        403,
        "BadDeployKey",
        f"The provided deploy key was invalid for deployment '{INSTANCE_NAME}'. Double check "
        "that the environment this key was generated for matches the desired deployment.",
    )


def bad_json(message: str) -> Refused:
    """The refusal of a body that is not what the route takes."""
    return Refused(400, "BadJsonBody", message)


async def json_body(request: Request) -> dict[str, Any]:
    """Read a JSON object of at most `REQUEST_BODY_BYTES_MAX` bytes, and never more than that.

    Raises:
        Refused: Another media type, too many bytes, or not a JSON object.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise bad_json("Expected a request with `Content-Type: application/json`.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > REQUEST_BODY_BYTES_MAX:
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > REQUEST_BODY_BYTES_MAX:
            raise _too_large()
    if len(body) > _THREAD_BYTES:
        fields = await anyio.to_thread.run_sync(parse, bytes(body), "the request body")
    else:
        fields = parse(bytes(body), "the request body")
    if not isinstance(fields, dict):
        raise bad_json("The request body must be a JSON object.")
    return fields


def _too_large() -> Refused:
    return bad_json(f"The request body is over {REQUEST_BODY_BYTES_MAX} bytes. Send less at once.")


def parse(text: str | bytes, what: str) -> Any:
    """JSON as Convex reads it; `what` names the text in the refusal.

    Every plain number is a float64, so longer integers lose digits as they do there.

    Raises:
        Refused: It is not JSON.
    """
    try:
        return json.loads(
            text.decode() if isinstance(text, bytes) else text,
            object_hook=_special_value,
            parse_int=_integer,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as error:
        raise bad_json(f"Could not read {what} as JSON.") from error


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INTEGER_DIGITS_EXACT else float(digits)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _special_value(found: dict[str, Any]) -> Any:
    """Decode `{"$float": base64}`; a flaw for what is not stored here; all else unchanged."""
    if len(found) != 1:
        return found
    ((name, coded),) = found.items()
    if name in ("$integer", "$bytes"):
        what = "64-bit integers" if name == "$integer" else "bytes"
        return Flaw(f"{name} holds {what}, which are not stored here. Send a number or text.")
    if name != "$float":
        return found
    try:
        (number,) = struct.unpack("<d", base64.b64decode(coded, validate=True))
    except (ValueError, TypeError, binascii.Error, struct.error):
        return Flaw("$float must hold the base64 of a 64-bit float.")
    if not math.isfinite(number):
        return Flaw(f"$float holds {number}; numbers must be finite.")
    if number != 0 or math.copysign(1, number) > 0:
        return Flaw("$float holds a number that JSON can hold. Send it as a plain number.")
    return number


def flaw_in(value: Any) -> Flaw | None:
    """A special value somewhere inside that cannot be taken, if there is one."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, Flaw):
            return item
        if isinstance(item, dict):
            rest.extend(item.values())
        elif isinstance(item, list) and not all(type(number) is float for number in item):
            rest.extend(item)
    return None


def call_in(fields: Any, kind: Kind | None) -> Call:
    """The call that a request's fields `path`, `args` and `format` describe.

    Raises:
        Refused: A field is missing or malformed.
    """
    if not isinstance(fields, dict):
        raise bad_json("A call must be a JSON object with `path` and `args`.")
    path = fields.get("path")
    if not isinstance(path, str):
        raise bad_json("The field `path` is missing or not text.")
    found = _PATH.fullmatch(path)
    if found is None:
        raise Refused(
            400,
            "BadConvexFunctionIdentifier",
            "`path` must read `module/path:function`, in letters, digits, `_` and `.` only.",
        )
    name = fields.get("format")
    encoded = _ENCODED_BY_FORMAT.get("json" if name is None else str(name))
    if encoded is None:
        raise Refused(400, "BadFormat", f"`format` must be one of {', '.join(_ENCODED_BY_FORMAT)}.")
    module = found[1].removesuffix(".js")
    return Call(module, found[2] or "default", kind, _args(fields.get("args")), encoded)


def _args(given: Any) -> Mapping[str, Value]:
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if isinstance(given, Flaw) or not isinstance(given, dict):
        raise bad_json("The field `args` must be an object, or an array that holds one object.")
    return given
