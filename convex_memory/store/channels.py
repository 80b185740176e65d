"""The channels domain: installations of agents on platforms, and the platforms' setup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from convex_memory.records import instant_in
from convex_memory.store.channel_records import ChannelConfig, ChannelInstallation
from convex_memory.store.domain import MemoryDomain
from convex_memory.values import Value

INSTALLATIONS: Final = "mastra_channel_installations"
CONFIG: Final = "mastra_channel_config"
_BEST_LAST: Final = ("error", "pending", "active")


class ChannelStore(MemoryDomain):
    """Channel installations and configurations: save, read, list, delete."""

    async def init(self) -> None:
        """Do nothing: the tables belong to the deployment."""

    async def dangerously_clear_all(self) -> None:
        """Delete every installation and every configuration of the deployment."""
        for table_name in (INSTALLATIONS, CONFIG):
            await self._storage.clear(table_name)

    # --- Installations

    async def save_installation(self, installation: ChannelInstallation) -> ChannelInstallation:
        """Store an installation whole, over the one with its id if there is one.

        The date of the first save stays; an installation without an id gets a random one.

        Returns:
            The installation as it was saved.

        Raises:
            InvalidArgument: The status is not one, or the data is not JSON.
        """
        saved = replace(installation, id=installation.id or self._new_id(), updated_at=self._now())
        stored = await self._storage.run("load", INSTALLATIONS, keys={"id": saved.id})
        if isinstance(stored, Mapping):
            created_at = instant_in(stored, "createdAt", "channel installation")
            saved = replace(saved, created_at=created_at)
        await self._storage.run("insert", INSTALLATIONS, record=saved.to_row())
        return saved

    async def get_installation(self, *, id: str) -> ChannelInstallation | None:
        """Return an installation, or None when there is none."""
        row = await self._storage.run("load", INSTALLATIONS, keys={"id": id})
        return None if row is None else ChannelInstallation.from_row(row)

    async def get_installation_by_agent(
        self, *, platform: str, agent_id: str
    ) -> ChannelInstallation | None:
        """Return an agent's installation on a platform, or None when there is none.

        Of several, an active one goes before a pending one, that before one in error; then the
        one that was saved last.
        """
        found = await self._installations(platform=platform, agentId=agent_id)
        return max(
            found, key=lambda each: (_BEST_LAST.index(each.status), each.updated_at), default=None
        )

    async def get_installation_by_webhook_id(
        self, *, webhook_id: str
    ) -> ChannelInstallation | None:
        """Return the installation that a webhook routes to, the one saved last, or None."""
        found = await self._installations(webhookId=webhook_id)
        return max(found, key=_updated_at, default=None)

    async def list_installations(self, *, platform: str) -> list[ChannelInstallation]:
        """Return every installation on a platform, the newest first."""
        found = await self._installations(platform=platform)
        return sorted(found, key=lambda each: each.created_at, reverse=True)

    async def delete_installation(self, *, id: str) -> None:
        """Delete an installation; one that does not exist is fine."""
        await self._storage.run("deleteMany", INSTALLATIONS, ids=[id])

    # --- Configurations

    async def save_config(self, config: ChannelConfig) -> ChannelConfig:
        """Store a platform's configuration over the one it has, with its date as given.

        Returns:
            The configuration as it was saved.

        Raises:
            InvalidArgument: The data is not JSON, or the date has no zone.
        """
        await self._storage.run("insert", CONFIG, record=config.to_row())
        return config

    async def get_config(self, *, platform: str) -> ChannelConfig | None:
        """Return a platform's configuration, or None when there is none."""
        row = await self._storage.run("load", CONFIG, keys={"id": platform})
        return None if row is None else ChannelConfig.from_row(row)

    async def delete_config(self, *, platform: str) -> None:
        """Delete a platform's configuration; one that does not exist is fine."""
        await self._storage.run("deleteMany", CONFIG, ids=[platform])

    async def _installations(self, **equals: Value) -> list[ChannelInstallation]:
        rows = await self._storage.rows(INSTALLATIONS, **equals)
        return [ChannelInstallation.from_row(row) for row in rows]


def _updated_at(installation: ChannelInstallation) -> datetime:
    return installation.updated_at
