"""Channel installations and configurations of the store."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convex_memory.deployment import Deployment
from convex_memory.errors import InvalidArgument, InvalidResponse
from convex_memory.store import ChannelConfig, ChannelInstallation, ChannelStore, ConvexStore
from tests.contract.conversations import StockDeployment, at
from tests.contract.legs import Clock
from tests.contract.requirements import requirement
from tests.contract.wire import Wire, bare

pytestmark = pytest.mark.anyio

INSTALLATIONS = "mastra_channel_installations"
CONFIG = "mastra_channel_config"


@pytest.fixture
def wire(deployment: Deployment) -> Wire:
    return Wire(deployment)


@pytest.fixture
def channels(deployment: Deployment, clock: Clock) -> ChannelStore:
    """The domain over Mastra's functions alone: it needs no others."""
    return ConvexStore(StockDeployment(deployment), now_ms=clock.now_ms).channels


class Platforms:
    """Makes installations on a platform of one test's own."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.slack = f"{namespace}-slack"

    def id(self, name: str) -> str:
        return f"{self.namespace}-{name}"

    def installation(self, name: str, **members: Any) -> ChannelInstallation:
        given: dict[str, Any] = {
            "platform": self.slack,
            "agent_id": "agent",
            "status": "active",
            "data": {"team": name},
            "created_at": at(0),
            "updated_at": at(0),
            **members,
        }
        return ChannelInstallation(id=self.id(name), **given)


@pytest.fixture
def platforms(namespace: str) -> Platforms:
    return Platforms(namespace)


def instant(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.now_ms() / 1000, UTC)


# --- Installations


@requirement("store:channels:domain")
async def test_a_store_has_its_channels(deployment: Deployment) -> None:
    counted = StockDeployment(deployment)
    store = ConvexStore(counted)
    assert store.get_store("channels") is store.channels
    await store.channels.init()
    assert counted.operations == []


@requirement("store:channels:save")
async def test_a_saved_installation_is_read_back(
    channels: ChannelStore, platforms: Platforms, clock: Clock
) -> None:
    plain = platforms.installation("plain")
    full = platforms.installation(
        "full",
        status="error",
        webhook_id=platforms.id("hook"),
        config_hash="abc",
        error="token expired",
        data={"$token": {"ключ": [1, None, 0.5]}},
    )
    for installation in (plain, full):
        saved = await channels.save_installation(installation)
        assert saved == replace(installation, updated_at=instant(clock))
        assert await channels.get_installation(id=installation.id) == saved


@requirement("store:channels:save:columns")
async def test_an_installation_is_stored_as_mastra_does(
    channels: ChannelStore, wire: Wire, platforms: Platforms, clock: Clock
) -> None:
    await channels.save_installation(platforms.installation("a"))
    assert bare(await wire.load(INSTALLATIONS, id=platforms.id("a"))) == {
        "id": platforms.id("a"),
        "platform": platforms.slack,
        "agentId": "agent",
        "status": "active",
        "webhookId": None,
        "data": '{"team":"a"}',
        "configHash": None,
        "error": None,
        "createdAt": "2025-06-01T00:00:00.000Z",
        "updatedAt": clock.now_text(),
    }


@requirement("store:channels:save:again")
async def test_saving_again_replaces_and_keeps_the_creation_date(
    channels: ChannelStore, platforms: Platforms, clock: Clock
) -> None:
    await channels.save_installation(
        platforms.installation("a", webhook_id="w", config_hash="h", error="e", status="error")
    )
    clock.advance_ms(1000)
    again = platforms.installation(
        "a", platform=f"{platforms.slack}-2", agent_id="other", data={"b": 1}, created_at=at(99)
    )
    saved = await channels.save_installation(again)
    assert saved == replace(again, created_at=at(0), updated_at=instant(clock))
    assert await channels.get_installation(id=again.id) == saved
    assert await channels.list_installations(platform=platforms.slack) == []


@requirement("store:channels:save:id")
async def test_an_installation_without_an_id_gets_one(
    channels: ChannelStore, platforms: Platforms
) -> None:
    nameless = replace(platforms.installation("a"), id="")
    saved = [await channels.save_installation(nameless) for _ in range(2)]
    assert saved[0].id
    assert saved[0].id != saved[1].id
    assert await channels.get_installation(id=saved[0].id) == saved[0]


@requirement("store:channels:save:data")
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.floats(0, 1)),
        max_size=4,
    )
)
async def test_every_object_survives_as_data(
    channels: ChannelStore, platforms: Platforms, data: dict[str, Any]
) -> None:
    await channels.save_installation(platforms.installation("a", data=data))
    stored = await channels.get_installation(id=platforms.id("a"))
    assert stored is not None
    assert stored.data == data
    await channels.save_config(ChannelConfig(platform=platforms.slack, data=data))
    config = await channels.get_config(platform=platforms.slack)
    assert config is not None
    assert config.data == data


@requirement("store:channels:save:refusals")
async def test_what_cannot_be_is_refused(channels: ChannelStore, platforms: Platforms) -> None:
    for wrong, sentence in (
        ({"status": "asleep"}, "pending, active, error"),
        ({"data": [1]}, "must be an object"),
        ({"data": {"a": float("nan")}}, "must be JSON"),
        ({"data": {"a": {1, 2}}}, "must be JSON"),
    ):
        with pytest.raises(InvalidArgument, match=sentence):
            await channels.save_installation(platforms.installation("a", **wrong))
    data: Any = None
    with pytest.raises(InvalidArgument, match="must be an object"):
        await channels.save_config(ChannelConfig(platform=platforms.slack, data=data))
    assert await channels.get_installation(id=platforms.id("a")) is None
    assert await channels.get_config(platform=platforms.slack) is None


@requirement("store:channels:get")
async def test_an_absent_installation_is_none(channels: ChannelStore, platforms: Platforms) -> None:
    assert await channels.get_installation(id=platforms.id("absent")) is None


@requirement("store:channels:read:invalid")
@pytest.mark.parametrize("data", ["not JSON", "[1]", '"text"', "null", "5", ""])
async def test_data_that_is_no_object_says_whose_it_is(
    channels: ChannelStore, wire: Wire, platforms: Platforms, data: str
) -> None:
    await channels.save_installation(platforms.installation("a", webhook_id=platforms.id("w")))
    await channels.save_config(ChannelConfig(platform=platforms.slack))
    await wire.send("patch", INSTALLATIONS, id=platforms.id("a"), record={"data": data})
    await wire.send("patch", CONFIG, id=platforms.slack, record={"data": data})
    text = f"Invalid channel data JSON for installation {platforms.id('a')}"
    for work in (
        channels.get_installation(id=platforms.id("a")),
        channels.get_installation_by_agent(platform=platforms.slack, agent_id="agent"),
        channels.get_installation_by_webhook_id(webhook_id=platforms.id("w")),
        channels.list_installations(platform=platforms.slack),
    ):
        with pytest.raises(InvalidResponse, match=text):
            await work
    with pytest.raises(
        InvalidResponse, match=f"Invalid channel data JSON for config {platforms.slack}"
    ):
        await channels.get_config(platform=platforms.slack)


@requirement("store:channels:read:invalid")
async def test_a_status_that_is_none_is_invalid(
    channels: ChannelStore, wire: Wire, platforms: Platforms
) -> None:
    await channels.save_installation(platforms.installation("a"))
    await wire.send("patch", INSTALLATIONS, id=platforms.id("a"), record={"status": "asleep"})
    with pytest.raises(InvalidResponse, match=platforms.id("a")):
        await channels.get_installation(id=platforms.id("a"))


@requirement("store:channels:agent")
async def test_the_best_installation_of_an_agent_is_found(
    channels: ChannelStore, platforms: Platforms, clock: Clock
) -> None:
    async def save(name: str, status: str, **members: Any) -> None:
        clock.advance_ms(1000)
        await channels.save_installation(platforms.installation(name, status=status, **members))

    async def found() -> str:
        best = await channels.get_installation_by_agent(platform=platforms.slack, agent_id="agent")
        assert best is not None
        return best.id.removeprefix(f"{platforms.namespace}-")

    await save("error", "error")
    assert await found() == "error"
    await save("pending", "pending")
    await save("later error", "error")
    assert await found() == "pending"
    await save("active", "active")
    await save("later pending", "pending")
    assert await found() == "active"
    await save("later active", "active")
    assert await found() == "later active"
    await save("active", "active")
    assert await found() == "active"
    await save("elsewhere", "active", platform=f"{platforms.slack}-2")
    await save("other agent", "active", agent_id="other")
    assert await found() == "active"


@requirement("store:channels:agent:absent")
async def test_an_agent_that_is_not_installed_has_none(
    channels: ChannelStore, platforms: Platforms
) -> None:
    await channels.save_installation(platforms.installation("a"))
    for platform, agent_id in ((platforms.slack, "other"), (f"{platforms.slack}-2", "agent")):
        found = await channels.get_installation_by_agent(platform=platform, agent_id=agent_id)
        assert found is None


@requirement("store:channels:webhook")
async def test_the_latest_installation_of_a_webhook_is_found(
    channels: ChannelStore, platforms: Platforms, clock: Clock
) -> None:
    hook = platforms.id("hook")

    async def found() -> str | None:
        latest = await channels.get_installation_by_webhook_id(webhook_id=hook)
        return latest.id.removeprefix(f"{platforms.namespace}-") if latest else None

    for name, status in (("a", "active"), ("b", "error"), ("a", "pending")):
        clock.advance_ms(1000)
        await channels.save_installation(
            platforms.installation(name, status=status, webhook_id=hook)
        )
        assert await found() == name
    await channels.save_installation(platforms.installation("a"))
    assert await found() == "b"


@requirement("store:channels:webhook:absent")
async def test_a_webhook_that_nobody_has_leads_nowhere(
    channels: ChannelStore, platforms: Platforms
) -> None:
    await channels.save_installation(platforms.installation("a"))
    found = await channels.get_installation_by_webhook_id(webhook_id=platforms.id("hook"))
    assert found is None


@requirement("store:channels:list")
async def test_installations_are_listed_newest_first(
    channels: ChannelStore, platforms: Platforms
) -> None:
    for name, created in (("b", 2), ("a", 1), ("c", 3), ("same", 2)):
        await channels.save_installation(
            platforms.installation(name, created_at=at(created), agent_id=f"agent-{name}")
        )
    await channels.save_installation(
        platforms.installation("other", platform=f"{platforms.slack}-2")
    )
    listed = await channels.list_installations(platform=platforms.slack)
    assert [each.id for each in listed] == [platforms.id(name) for name in ("c", "b", "same", "a")]
    assert await channels.list_installations(platform=platforms.id("none")) == []


@requirement("store:channels:delete")
async def test_deleting_an_installation_leaves_the_others(
    channels: ChannelStore, platforms: Platforms
) -> None:
    for name in "ab":
        await channels.save_installation(platforms.installation(name))
    for _ in range(2):
        await channels.delete_installation(id=platforms.id("a"))
        listed = await channels.list_installations(platform=platforms.slack)
        assert [each.id for each in listed] == [platforms.id("b")]


# --- Configurations


@requirement("store:channels:config")
async def test_a_platform_has_one_configuration(
    channels: ChannelStore, platforms: Platforms
) -> None:
    assert await channels.get_config(platform=platforms.slack) is None
    for config in (
        ChannelConfig(platform=platforms.slack, data={"a": {"$b": 1}}, updated_at=at(5)),
        ChannelConfig(platform=platforms.slack, data={"c": None}, updated_at=at(4)),
    ):
        assert await channels.save_config(config) == config
        assert await channels.get_config(platform=platforms.slack) == config
    assert await channels.get_config(platform=f"{platforms.slack}-2") is None


@requirement("store:channels:config:columns")
async def test_a_configurations_id_is_its_platform(
    channels: ChannelStore, wire: Wire, platforms: Platforms
) -> None:
    await channels.save_config(
        ChannelConfig(platform=platforms.slack, data={"a": 1}, updated_at=at(5))
    )
    row = bare(await wire.load(CONFIG, id=platforms.slack))
    assert json.loads(row.pop("data")) == {"a": 1}
    assert row == {
        "id": platforms.slack,
        "platform": platforms.slack,
        "updatedAt": "2025-06-01T00:00:05.000Z",
    }


@requirement("store:channels:config:delete")
async def test_a_deleted_configuration_is_gone(
    channels: ChannelStore, platforms: Platforms
) -> None:
    other = ChannelConfig(platform=f"{platforms.slack}-2", updated_at=at(1))
    await channels.save_config(ChannelConfig(platform=platforms.slack))
    await channels.save_config(other)
    for _ in range(2):
        await channels.delete_config(platform=platforms.slack)
        assert await channels.get_config(platform=platforms.slack) is None
    assert await channels.get_config(platform=other.platform) == other


@requirement("store:channels:clear-all")
async def test_clearing_deletes_installations_and_configurations(
    channels: ChannelStore, platforms: Platforms
) -> None:
    for number in range(30):
        await channels.save_installation(platforms.installation(f"{number}"))
        await channels.save_config(ChannelConfig(platform=platforms.id(f"p{number}")))
    await channels.dangerously_clear_all()
    assert await channels.list_installations(platform=platforms.slack) == []
    for number in range(30):
        assert await channels.get_config(platform=platforms.id(f"p{number}")) is None
