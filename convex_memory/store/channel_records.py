"""Channels: where an agent is installed on a platform, and how the platform is set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeAlias, cast, get_args

from convex_memory.errors import InvalidArgument, InvalidResponse
from convex_memory.json_text import json_text
from convex_memory.records import Row, instant_in, iso_text, utc_now
from convex_memory.store.domain import optional_text, text
from convex_memory.store.fields import json_object, row_in
from convex_memory.values import Value

InstallationStatus: TypeAlias = Literal["pending", "active", "error"]
_STATUSES: Final = get_args(InstallationStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelInstallation:
    """An agent's place on a platform.

    Attributes:
        id: Chosen by the caller; empty lets the store make one.
        platform: For instance `slack`.
        agent_id: The agent.
        status: `pending`, `active` or `error`.
        data: What the platform needs; any JSON object.
        webhook_id: What requests from the platform are routed by.
        config_hash: Tells whether the agent's configuration has changed.
        error: What is wrong, with status `error`.
        created_at: When it was first saved.
        updated_at: When it was last saved.
    """

    id: str
    platform: str
    agent_id: str
    status: InstallationStatus
    data: Mapping[str, Value] = field(default_factory=dict)
    webhook_id: str | None = None
    config_hash: str | None = None
    error: str | None = None
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)

    @classmethod
    def from_row(cls, row: Value) -> ChannelInstallation:
        """Read an installation from a stored row.

        Raises:
            InvalidResponse: The row is not an installation, or its data not a JSON object.
        """
        stored = row_in(row, "channel installation")
        status = text(stored, "status")
        if status not in _STATUSES:
            raise InvalidResponse(
                f"Channel installation {text(stored, 'id')} has a status that is none of "
                f"{', '.join(_STATUSES)}."
            )
        return cls(
            id=text(stored, "id"),
            platform=text(stored, "platform"),
            agent_id=text(stored, "agentId"),
            status=cast(InstallationStatus, status),
            data=_data(stored, f"installation {text(stored, 'id')}"),
            webhook_id=optional_text(stored, "webhookId"),
            config_hash=optional_text(stored, "configHash"),
            error=optional_text(stored, "error"),
            created_at=instant_in(stored, "createdAt", "channel installation"),
            updated_at=instant_in(stored, "updatedAt", "channel installation"),
        )

    def to_row(self) -> dict[str, Value]:
        """Return the row that stores this installation.

        Raises:
            InvalidArgument: The status is not one, the data is not JSON, or a date has no zone.
        """
        if self.status not in _STATUSES:
            raise InvalidArgument(f"status must be one of {', '.join(_STATUSES)}.")
        return {
            "id": self.id,
            "platform": self.platform,
            "agentId": self.agent_id,
            "status": self.status,
            "webhookId": self.webhook_id,
            "data": _data_text(self.data),
            "configHash": self.config_hash,
            "error": self.error,
            "createdAt": iso_text(self.created_at, "created_at"),
            "updatedAt": iso_text(self.updated_at, "updated_at"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelConfig:
    """How a platform is set up for every agent.

    Attributes:
        platform: For instance `slack`.
        data: What the platform needs; any JSON object.
        updated_at: When it was last changed.
    """

    platform: str
    data: Mapping[str, Value] = field(default_factory=dict)
    updated_at: datetime = field(default_factory=utc_now)

    @classmethod
    def from_row(cls, row: Value) -> ChannelConfig:
        """Read a configuration from a stored row.

        Raises:
            InvalidResponse: The row is not a configuration, or its data not a JSON object.
        """
        stored = row_in(row, "channel config")
        platform = text(stored, "platform")
        return cls(
            platform=platform,
            data=_data(stored, f"config {platform}"),
            updated_at=instant_in(stored, "updatedAt", "channel config"),
        )

    def to_row(self) -> dict[str, Value]:
        """Return the row that stores this configuration; its id is the platform.

        Raises:
            InvalidArgument: The data is not JSON, or the date has no zone.
        """
        return {
            "id": self.platform,
            "platform": self.platform,
            "data": _data_text(self.data),
            "updatedAt": iso_text(self.updated_at, "updated_at"),
        }


def _data(stored: Row, whose: str) -> Row:
    data = json_object(text(stored, "data"))
    if data is None:
        raise InvalidResponse(f"Invalid channel data JSON for {whose}")
    return data


def _data_text(data: Mapping[str, Value]) -> str:
    if not isinstance(data, Mapping):
        raise InvalidArgument("The data of a channel must be an object.")
    return json_text(data, "data")
