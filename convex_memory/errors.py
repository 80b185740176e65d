"""Every exception this library raises.

    ConvexMemoryError
    ├── ConfigurationError        a setting, folder or file cannot be used as it is
    ├── DeploymentError           the call got no usable answer
    │   ├── Unreachable           no connection; nothing was executed
    │   ├── DeploymentTimeout     no answer in time; a write may or may not have happened
    │   ├── Overloaded            the deployment asked to slow down; nothing was executed
    │   ├── Unauthorized          the key was refused
    │   ├── FunctionNotDeployed   the deployment has no such function
    │   ├── StorageFailed         the disk or database file failed; nothing was changed
    │   └── InvalidResponse       the answer was not one the protocol allows
    ├── EmbedderError             texts were not embedded; what was stored before stays
    │   ├── EmbedderUnavailable   it cannot work until somebody changes something
    │   ├── EmbedderUnreachable   no answer in time; the same call may succeed later
    │   └── EmbedderRefused       it works, but does not take these texts
    └── FunctionError             the function ran and refused; nothing was changed
        ├── InvalidArgument
        │   └── DimensionMismatch
        ├── NotFound
        ├── Conflict
        ├── Forbidden
        └── LimitExceeded

Each class has a `code`, the same string on the wire (`errorData.code`) and in tool answers,
so that nobody has to match on text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class ConvexMemoryError(Exception):
    """Base of every error here.

    Args:
        message: What was wrong, the limit or the choices, and what to do, as a sentence.
        id: The identifier Mastra's adapters give the same failure, where there is one
            (`MASTRA_STORAGE_CONVEX_…`).
        details: Machine-readable particulars; JSON values only, never content or secrets.
    """

    code: ClassVar[str] = "error"

    def __init__(
        self, message: str, *, id: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.id = id
        self.details: dict[str, Any] = dict(details or {})


class ConfigurationError(ConvexMemoryError):
    """A setting, a folder or a file cannot be used as it is."""

    code = "configuration"


class DeploymentError(ConvexMemoryError):
    """The deployment gave no usable answer."""

    code = "deployment"


class Unreachable(DeploymentError):
    """No connection could be made, so nothing was executed."""

    code = "unreachable"


class DeploymentTimeout(DeploymentError):
    """No answer came in time. A write may or may not have happened."""

    code = "timeout"


class Overloaded(DeploymentError):
    """The deployment refused for lack of capacity. Nothing was executed, save maybe an action."""

    code = "overloaded"


class Unauthorized(DeploymentError):
    """The deployment refused the admin key."""

    code = "unauthorized"


class FunctionNotDeployed(DeploymentError):
    """The deployment has no function at this path."""

    code = "not_deployed"


class StorageFailed(DeploymentError):
    """The disk or the database file failed; the transaction was rolled back."""

    code = "storage_failed"


class InvalidResponse(DeploymentError):
    """The answer was not one that the protocol allows."""

    code = "invalid_response"


class EmbedderError(ConvexMemoryError):
    """Texts were not embedded."""

    code = "embedder"


class EmbedderUnavailable(EmbedderError):
    """The embedder cannot work until somebody changes something: files, a key, a setting."""

    code = "embedder_unavailable"


class EmbedderUnreachable(EmbedderError):
    """The embedder gave no answer in time, or asked to slow down. Later it may work."""

    code = "embedder_unreachable"


class EmbedderRefused(EmbedderError):
    """The embedder does not take these texts, now or later; it may take others.

    `details["positions"]` holds those of the texts that were refused together.
    """

    code = "embedder_refused"


class FunctionError(ConvexMemoryError):
    """The function ran and refused; its transaction was rolled back."""

    code = "refused"


class InvalidArgument(FunctionError):
    """An argument is malformed or out of range."""

    code = "invalid_argument"


class DimensionMismatch(InvalidArgument):
    """A vector has another length than its index."""

    code = "dimension_mismatch"


class NotFound(FunctionError):
    """What was named does not exist, or belongs to somebody else."""

    code = "not_found"


class Conflict(FunctionError):
    """What was sent contradicts what is stored."""

    code = "conflict"


class Forbidden(FunctionError):
    """Callers of this kind may not run this function."""

    code = "forbidden"


class LimitExceeded(FunctionError):
    """A platform limit would be passed."""

    code = "limit_exceeded"


FUNCTION_ERRORS: Mapping[str, type[FunctionError]] = {
    cls.code: cls
    for cls in (
        FunctionError,
        InvalidArgument,
        DimensionMismatch,
        NotFound,
        Conflict,
        Forbidden,
        LimitExceeded,
    )
}
"""Refusals by their `code`, for rebuilding one from `errorData` on the wire."""
