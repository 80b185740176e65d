"""What an answer of Convex's HTTP function API means: a value, or an error of ours.

Texts of the deployment are shown only as far as they are made for people: without request
wrappers and stack lines, without the values that validators quote, and never with the key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from convex_memory.deployment import Kind
from convex_memory.errors import (
    FUNCTION_ERRORS,
    ConvexMemoryError,
    DeploymentError,
    DeploymentTimeout,
    FunctionError,
    FunctionNotDeployed,
    InvalidArgument,
    InvalidResponse,
    LimitExceeded,
    Overloaded,
    StorageFailed,
    Unauthorized,
    Unreachable,
)
from convex_memory.remote_exchange import ANSWER_BYTES_MAX, Broken, Reply
from convex_memory.values import Value

MESSAGE_CHARS_MAX: Final = 500
"""What is shown at most of a text that the deployment sent."""

_WRAPPER = re.compile(r"\s*(?:\[Request ID: (?P<id>[^\]]{1,64})\] Server Error)?:?\s*")
_THROWN = re.compile(r"Uncaught (?:(?:Convex)?Error: )?")
_NOT_SHOWN = re.compile(r"^(?:\s+at |Object: |Value: )")
"""Lines of a stack, and lines in which a validator quotes what it was given."""


@dataclass(frozen=True, slots=True)
class Called:
    """A call on its way, as errors name it."""

    kind: Kind
    path: str
    url: str
    admin_key: str = field(repr=False)

    @property
    def doubt(self) -> str:
        """What is known of a call whose answer was lost, as a sentence."""
        if self.kind == "query":
            return "It was a query, so nothing was changed."
        return "It may or may not have happened: look before you do it again."

    def shown(self, text: str) -> str:
        """A text of the deployment as it may stand in an error."""
        return text.replace(self.admin_key, "[admin key]")[:MESSAGE_CHARS_MAX]


@dataclass(frozen=True, slots=True)
class Answered:
    """The function returned this value."""

    value: Value


@dataclass(frozen=True, slots=True)
class Failed:
    """The call failed.

    Args:
        error: What to raise.
        again: Whether another try is in order: `always` when nothing was executed,
            `if_harmless` when nobody can know.
        after_seconds: The pause that the deployment asked for.
        cause: The foreign exception behind the error.
    """

    error: ConvexMemoryError
    again: Literal["always", "if_harmless", "never"] = "never"
    after_seconds: float = 0
    cause: BaseException | None = None


def unanswered(called: Called, broken: Broken, *, begun: bool) -> Failed:
    """What it means that a request had no whole answer.

    Args:
        called: The call.
        broken: How it ended.
        begun: Whether the request had begun to leave; only then can it have been executed.
    """
    reason = broken.reason or ("it took too long" if broken.timed_out else "")
    told = f" ({reason})" if reason else ""
    if not begun:
        missed: DeploymentError = Unreachable(
            f"No connection to {called.url} could be made{told}, so {called.path} was not "
            "executed. Check the URL, the network and that the deployment is running."
        )
        return Failed(missed, "always", cause=broken.cause)
    if broken.timed_out:
        missed = DeploymentTimeout(f"{called.path} had no answer in time. {called.doubt}")
    else:
        missed = InvalidResponse(
            f"The connection broke{told} before {called.path} was answered whole. {called.doubt}"
        )
    return Failed(missed, "if_harmless", cause=broken.cause)


def late(called: Called, timeout_ms: int, *, begun: bool) -> Failed:
    """What it means that the deadline of a call passed.

    Args:
        called: The call.
        timeout_ms: What it was given, in milliseconds.
        begun: Whether the last request had begun to leave.
    """
    if begun:
        missed: DeploymentError = DeploymentTimeout(
            f"{called.path} had no answer within {timeout_ms} ms. {called.doubt}"
        )
        return Failed(missed, "if_harmless")
    missed = Unreachable(
        f"{called.path} was not executed: it could not be sent to {called.url} within "
        f"{timeout_ms} ms. Check the network, ask for less at once, or allow more time."
    )
    return Failed(missed, "always")


def too_long(called: Called) -> Failed:
    """What it means that an answer was longer than is read."""
    return Failed(
        InvalidResponse(
            f"{called.path} was answered with more than {ANSWER_BYTES_MAX} bytes. Ask for less "
            f"at once. {called.doubt}"
        )
    )


def read_answer(called: Called, reply: Reply) -> Answered | Failed:
    """What an answer says. Of `Retry-After` only the form in seconds is understood."""
    # 560 is how older deployments mark an error of the function in an otherwise equal body.
    if reply.status not in (200, 560):
        return _refused(called, reply.status, _seconds(reply.retry_after), reply.content)
    from convex_memory.remote_coding import decode_answer

    try:
        answer = decode_answer(reply.content)
    except ValueError:
        # Its text may quote the answer, so it is not kept as a cause.
        return Failed(_unreadable(called))
    match answer:
        case {"status": "success", "value": value}:
            return Answered(value)
        case {"status": "error"}:
            return Failed(_function_error(called, answer))
    return Failed(_unreadable(called))


def _unreadable(called: Called) -> InvalidResponse:
    return InvalidResponse(
        f"{called.path} was answered with something that is not an answer of a Convex function. "
        f"Check that {called.url} is a Convex deployment. {called.doubt}"
    )


def _function_error(called: Called, reply: Mapping[str, Any]) -> ConvexMemoryError:
    data, text = reply.get("errorData"), reply.get("errorMessage")
    text = text if isinstance(text, str) else ""
    code = data.get("code") if isinstance(data, Mapping) else None
    if isinstance(data, Mapping) and isinstance(code, str) and code in FUNCTION_ERRORS:
        message, details = data.get("message"), data.get("details")
        return FUNCTION_ERRORS[code](
            called.shown(message if isinstance(message, str) else _readable(called, text)),
            details=_shown_within(called, details) if isinstance(details, Mapping) else None,
        )
    readable = _readable(called, text)
    if readable.startswith(("Could not find public function", "Could not find function")):
        return _not_deployed(called)
    if readable.startswith("Arguments for ") and "too large" in readable:
        return LimitExceeded(readable)
    if readable.startswith(("ArgumentValidationError", "Invalid arguments")):
        return InvalidArgument(readable)
    return FunctionError(readable)


def _not_deployed(called: Called) -> FunctionNotDeployed:
    return FunctionNotDeployed(
        f"{called.url} has no {called.kind} {called.path} that this key may call. "
        "Deploy the functions there, or correct the path."
    )


def _readable(called: Called, text: str) -> str:
    wrapper = _WRAPPER.match(text)
    told = text[wrapper.end() :] if wrapper else text
    thrown = _THROWN.match(told)
    lines = (told[thrown.end() :] if thrown else told).splitlines()
    kept = "\n".join(line for line in lines if not _NOT_SHOWN.match(line)).strip()
    if kept:
        return called.shown(kept)
    named = f" Look for request {wrapper['id']} in its logs." if wrapper and wrapper["id"] else ""
    return called.shown(f"{called.path} failed, and the deployment does not say why.{named}")


def _shown_within(called: Called, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _shown_within(called, item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shown_within(called, item) for item in value]
    return called.shown(value) if isinstance(value, str) else value


def _refused(called: Called, status: int, after_seconds: float, content: bytes) -> Failed:
    code, told = _code_and_text(called, content)
    if status in (401, 403) or code == "InvalidAdminKey":
        return Failed(
            Unauthorized(
                f"{called.url} refused the admin key (HTTP {status}{told}). "
                "Check that the key belongs to this deployment."
            )
        )
    if status == 429 or (status == 503 and code):
        return _overloaded(called, status, after_seconds, told)
    if status >= 500 or status == 408:
        return _broken(called, status, after_seconds, code, told)
    if status == 404:
        return Failed(_not_deployed(called))
    if status == 413 or (code == "BadJsonBody" and "large" in told):
        return Failed(LimitExceeded(f"The arguments of {called.path} are too large{told}."))
    if code == "BadConvexFunctionIdentifier":
        return Failed(InvalidArgument(f"{called.path!a} cannot be the path of a function."))
    if 400 <= status < 500:
        return Failed(
            DeploymentError(
                f"{called.url} refused the request for {called.path} with HTTP {status}{told}; "
                "nothing was executed."
            )
        )
    return Failed(_unreadable(called))


def _overloaded(called: Called, status: int, after_seconds: float, told: str) -> Failed:
    # An action is no transaction: its 503 may come after a first part of it has happened.
    again: Literal["always", "if_harmless"] = (
        "if_harmless" if status == 503 and called.kind == "action" else "always"
    )
    when = f"in {after_seconds:g} seconds" if after_seconds else "later"
    doubt = f" {called.doubt}" if again == "if_harmless" else ""
    error = Overloaded(
        f"{called.url} is overloaded and did not complete {called.path} (HTTP {status}{told}). "
        f"Try again {when}.{doubt}"
    )
    return Failed(error, again, after_seconds)


def _broken(
    called: Called, status: int, after_seconds: float, code: str | None, told: str
) -> Failed:
    if code == "StorageFailed":
        return Failed(StorageFailed(f"{called.path} was rolled back{told}."))
    lost = DeploymentTimeout if status == 408 else DeploymentError
    error = lost(f"{called.url} answered {called.path} with HTTP {status}{told}. {called.doubt}")
    return Failed(error, "if_harmless", after_seconds)


def _code_and_text(called: Called, content: bytes) -> tuple[str | None, str]:
    """The code of a refusal, and what it says as the tail of a sentence."""
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError):
        return None, ""
    match reply:
        case {"code": str(code), "message": str(message)}:
            return code, f", {called.shown(f'{code}: {message}').rstrip('.')}"
        case {"code": str(code)}:
            return code, f", {called.shown(code)}"
    return None, ""


def _seconds(retry_after: str | None) -> float:
    try:
        seconds = float(retry_after or 0)
    except ValueError:
        return 0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0
