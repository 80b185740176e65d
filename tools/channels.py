"""The `channels` toolset: where agents are installed. What platforms entrust to them is hidden."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from convex_memory.errors import NotFound
from convex_memory.records import iso_text
from convex_memory.store.channel_records import ChannelInstallation
from tools.adapters import Adapters
from tools.arguments import Cursor, Id, Limit, page_of
from tools.toolset import Answer, Arguments, Progress, Toolset

channels = Toolset("channels")

Platform = Annotated[str, Field(min_length=1, description="For instance slack.")]


class ShownInstallation(Answer):
    """One installation, without the secrets in its data."""

    id: str
    platform: str
    agent_id: str
    status: Literal["pending", "active", "error"]
    created_at: str
    updated_at: str
    error: str | None = None


class ListInstallationsArguments(Arguments):
    """Arguments of `list_channel_installations`."""

    platform: Platform
    limit: Limit = 20
    cursor: Cursor = None


class ListedInstallations(Answer):
    """A page of installations, newest first."""

    installations: list[ShownInstallation]
    next_cursor: str | None


@channels.tool("List channel installations", reads=True)
async def list_channel_installations(
    arguments: ListInstallationsArguments, adapters: Adapters, progress: Progress
) -> ListedInstallations:
    """See which agents are installed on a platform, and whether they work."""
    found = await adapters.store.channels.list_installations(platform=arguments.platform)
    shown, cursor = page_of(found, arguments.cursor, arguments.limit)
    return ListedInstallations(installations=[_shown(each) for each in shown], next_cursor=cursor)


class AgentArguments(Arguments):
    """Arguments of `get_channel_installation`."""

    platform: Platform
    agent_id: Id


@channels.tool("Get a channel installation", reads=True)
async def get_channel_installation(
    arguments: AgentArguments, adapters: Adapters, progress: Progress
) -> ShownInstallation:
    """See whether one agent is installed on a platform, and what is wrong if it is not."""
    found = await adapters.store.channels.get_installation_by_agent(
        platform=arguments.platform, agent_id=arguments.agent_id
    )
    if found is None:
        raise NotFound(
            f"Agent {arguments.agent_id!a} is not installed on {arguments.platform!a}. "
            "list_channel_installations shows which are."
        )
    return _shown(found)


class InstallationArguments(Arguments):
    """Arguments of `delete_channel_installation`."""

    installation_id: Id


class DeletedInstallation(Answer):
    """It is gone."""

    installation_id: str
    deleted: bool


@channels.tool("Delete a channel installation", destroys=True, repeatable=True)
async def delete_channel_installation(
    arguments: InstallationArguments, adapters: Adapters, progress: Progress
) -> DeletedInstallation:
    """Forget an installation. The platform itself is not told."""
    await adapters.store.channels.delete_installation(id=arguments.installation_id)
    return DeletedInstallation(installation_id=arguments.installation_id, deleted=True)


def _shown(installation: ChannelInstallation) -> ShownInstallation:
    return ShownInstallation(
        id=installation.id,
        platform=installation.platform,
        agent_id=installation.agent_id,
        status=installation.status,
        created_at=iso_text(installation.created_at),
        updated_at=iso_text(installation.updated_at),
        error=installation.error,
    )
