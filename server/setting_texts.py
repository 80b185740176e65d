"""How the text of a setting is read: the value, or `ValueError` with how the sentence goes on.

The sentence begins with the name of the variable.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convex_memory.deployment import STORAGE_FUNCTION
from convex_memory.embedders.opening import CHOICES, named
from convex_memory.limits import (
    MESSAGE_ID_CHARS_MAX,
    VECTOR_DIMENSION_MAX,
    VECTOR_DIMENSION_MIN,
)
from server.environment import is_off
from tools import TOOLSETS

NOTIFY: Final = "notify"
"""The schedule action that tells subscribed clients."""
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


class NativeIndexSettings(BaseModel):
    """One entry of `CONVEX_NATIVE_VECTOR_INDEXES`, in the protocol's spelling."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tableName: str
    dimension: Annotated[int, Field(ge=VECTOR_DIMENSION_MIN, le=VECTOR_DIMENSION_MAX)]
    vectorIndexName: str = "by_embedding"
    idField: str = "id"
    idIndexName: str = "by_record_id"
    vectorField: str = "embedding"
    metadataField: str = "metadata"
    filterFields: tuple[str, ...] = ()


def text(value: str) -> str:
    """Read any text."""
    return value


def url(value: str) -> str:
    """Read the address of a deployment."""
    if not value.startswith(("https://", "http://")):
        raise ValueError(
            "must be the address of a deployment, such as https://happy-animal-123.convex.cloud"
        )
    return value.rstrip("/")


def issuer(value: str) -> str:
    """Read the name of an authorization server, an address."""
    address = urlsplit(value)
    secure = address.scheme == "https" or address.hostname in ("localhost", "127.0.0.1", "::1")
    if address.scheme not in ("https", "http") or not address.hostname or not secure:
        raise ValueError(
            "must be the https address of the authorization server, exactly as it names itself "
            "(http on loopback only)"
        )
    if address.query or address.fragment:
        raise ValueError("must be an address without ? and #")
    return value


def audience(value: str) -> str:
    """Read the public address of this server's `/mcp`."""
    address = urlsplit(value)
    if address.scheme not in ("https", "http") or not address.hostname or address.fragment:
        raise ValueError(
            "must be the public address of this server, such as https://memory.example.com/mcp"
        )
    return value


def whole(least: int) -> Callable[[str], int]:
    """Return a reader of whole numbers of at least `least`."""

    def read(value: str) -> int:
        if not value.isdecimal() or int(value) < least:
            raise ValueError(f"must be a whole number of at least {least}, not {value[:40]!r}")
        return int(value)

    return read


def flag(value: str) -> bool:
    """Read what is on or off."""
    lowered = value.lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if is_off(value):
        return False
    raise ValueError(f"must be true or false, not {value[:40]!r}")


def function(value: str) -> str:
    """Read the path of a function."""
    module, separator, name = value.partition(":")
    if not module or not separator or not name:
        raise ValueError(f"must be a function path such as {STORAGE_FUNCTION}, not {value[:80]!r}")
    return value


def toolsets(value: str) -> tuple[str, ...]:
    """Read names of toolsets, or `all`."""
    names = tuple(dict.fromkeys(name.strip().lower() for name in value.split(",") if name.strip()))
    if names == ("all",):
        return tuple(TOOLSETS)
    unknown = [name for name in names if name not in TOOLSETS]
    if unknown or not names:
        raise ValueError(
            f"names no toolset {', '.join(unknown) or value[:40]!r}; choose from "
            f"{', '.join(TOOLSETS)}, or all"
        )
    return names


def embedder(value: str) -> str:
    """Read the name of an embedder."""
    if named(value) is None:
        raise ValueError(f"must be {CHOICES}; not {value[:80]!a}")
    return value


def folder(value: str) -> Path:
    """Read the path of a folder, which may begin with `~`."""
    return Path(value).expanduser()


def resource(value: str) -> str:
    """Read the id of a resource."""
    if len(value) > MESSAGE_ID_CHARS_MAX:
        raise ValueError(f"has more than {MESSAGE_ID_CHARS_MAX} characters")
    return value


def schedule_action(value: str) -> str | None:
    """Read what a schedule that fires does; None for nothing."""
    if value.lower() == "off":
        return None
    if value.lower() == NOTIFY or value.startswith(("https://", "http://")):
        return value.lower() if value.lower() == NOTIFY else value
    raise ValueError("must be off, notify, or the address of a webhook")


def level(value: str) -> str:
    """Read a level of logging."""
    if value.upper() not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}, not {value[:40]!r}")
    return value.upper()


def listed(each: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Read what is separated by commas."""

    def read(value: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each(part.strip()) for part in value.split(",") if part.strip()))

    return read


def host(value: str) -> str:
    """Read the name of a host, with or without a port."""
    try:
        address = urlsplit(f"//{value}")
        usable = address.netloc == value and address.hostname and "@" not in value
        # Raises for what is no port.
        usable = bool(usable) and (address.port is None or address.port > 0)
    except ValueError:
        usable = False
    if not usable or "*" in value:
        raise ValueError(
            "must be names that clients use in the address of this server, such as "
            f"memory.example.com, or with a port; not {value[:80]!r}"
        )
    return value.lower()


def origin(value: str) -> str:
    """Read the origin of a web page."""
    address = urlsplit(value)
    plain = value == f"{address.scheme}://{address.netloc}"
    if value != "*" and (address.scheme not in ("https", "http") or not plain):
        raise ValueError(
            "must be origins of web pages, such as https://app.example.com without a path, or *; "
            f"not {value[:80]!r}"
        )
    return value.lower()


def network(value: str) -> str:
    """Read an address, or a network of them."""
    try:
        return str(ip_network(value, strict=False))
    except ValueError:
        raise ValueError(
            f"must be addresses or networks such as 10.0.0.0/8, not {value[:80]!r}"
        ) from None


def exporter(value: str) -> str:
    """Read where telemetry goes."""
    if value not in ("otlp", "console", "none"):
        raise ValueError(f"must be otlp, console or none, not {value[:40]!r}")
    return value


def native_indexes(value: str) -> dict[str, NativeIndexSettings]:
    """Read the indexes that stand in the deployment's schema, by name."""
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ValueError(
            'must be a JSON object such as {"articles": {"tableName": "articles", '
            '"dimension": 1536}}'
        )
    indexes = {}
    for name, entry in parsed.items():
        try:
            indexes[name] = NativeIndexSettings.model_validate(entry)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise ValueError(f"is wrong at {name}.{where}: {problem['msg']}") from error
    return indexes
