"""What an assistant pays for and relies on: names, descriptions, schemas, annotations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from mcp.types import Tool

from tests.application.connections import connected, settings_in
from tools import DEFAULT_TOOLSETS, TOOLSETS, prompts, resources, select

SURFACE_BYTES_MAX: Final = 12_000
DESCRIPTION_CHARS_MAX: Final = 300
SNAPSHOTS: Final = Path(__file__).parent / "snapshots"
TOOLS: Final = {name: tool.definition for name, tool in select(TOOLSETS).items()}
DEFAULT: Final = {name: tool.definition for name, tool in select(DEFAULT_TOOLSETS).items()}


def published(tool: Tool) -> dict[str, Any]:
    return tool.model_dump(mode="json", by_alias=True, exclude_none=True)


def model_visible_bytes(tool: Tool) -> int:
    """What stands in every conversation: compact JSON of name, description and input schema."""
    seen = {name: published(tool)[name] for name in ("name", "description", "inputSchema")}
    return len(json.dumps(seen, ensure_ascii=False, separators=(",", ":")).encode())


def test_the_default_toolsets_stay_small() -> None:
    sizes = {
        name: model_visible_bytes(tool.definition)
        for name, tool in select(DEFAULT_TOOLSETS).items()
    }
    assert sum(sizes.values()) <= SURFACE_BYTES_MAX, sizes


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_is_published_as_its_snapshot_says(
    name: str, request: pytest.FixtureRequest
) -> None:
    path = SNAPSHOTS / f"{name}.json"
    text = json.dumps(published(TOOLS[name]), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    if request.config.getoption("--update-snapshots", default=False):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"{path} is missing; write it with --update-snapshots"
    assert path.read_text(encoding="utf-8") == text, "changed: look, then --update-snapshots"


def test_there_is_no_snapshot_without_a_tool() -> None:
    assert sorted(path.stem for path in SNAPSHOTS.iterdir()) == sorted(TOOLS)


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_says_all_that_a_host_wants_to_know(name: str) -> None:
    tool = TOOLS[name]
    assert tool.name == name
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name)
    assert tool.title
    assert tool.description
    assert len(tool.description) <= DESCRIPTION_CHARS_MAX
    assert tool.description.endswith(".")
    hints = tool.annotations
    assert hints is not None
    assert hints.title == tool.title
    assert hints.open_world_hint is False
    for hint in (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint):
        assert hint in (True, False)
    assert not (hints.read_only_hint and hints.destructive_hint)
    assert hints.idempotent_hint or not hints.read_only_hint
    assert tool.output_schema is not None
    assert tool.output_schema["type"] == "object"


@pytest.mark.parametrize("name", TOOLS)
def test_schemas_need_nothing_that_clients_fail_on(name: str) -> None:
    for schema in (TOOLS[name].input_schema, TOOLS[name].output_schema):
        assert schema is not None
        Draft202012Validator.check_schema(schema)
        text = json.dumps(schema)
        for word in ('"$ref"', '"$defs"', '"title": "', '"allOf"', '"oneOf"'):
            assert word not in text
    assert TOOLS[name].input_schema["type"] == "object"
    assert TOOLS[name].input_schema["additionalProperties"] is False


def test_resources_and_prompts_say_all_that_a_host_wants_to_know() -> None:
    for template in (*resources.TEMPLATES, resources.SCHEDULE_TEMPLATE):
        assert template.name
        assert template.title
        assert template.description
        assert template.mime_type
    for prompt in prompts.PROMPTS:
        assert prompt.title
        assert prompt.description
        for argument in prompt.arguments or ():
            assert argument.description


def test_what_destroys_is_marked_so() -> None:
    destroying = {
        name
        for name, tool in DEFAULT.items()
        if tool.annotations is not None and tool.annotations.destructive_hint
    }
    assert destroying == {
        "delete_thread",
        "delete_messages",
        "update_message",
        "update_working_memory",
        "upsert_embeddings",
        "update_embedding",
        "delete_embeddings",
        "delete_index",
        "cache_set",
        "cache_delete",
        "cache_clear",
    }


def test_what_may_not_be_repeated_is_marked_so() -> None:
    once = {
        name
        for name, tool in DEFAULT.items()
        if tool.annotations is not None and not tool.annotations.idempotent_hint
    }
    assert once == {"clone_thread", "update_working_memory", "cache_push", "cache_increment"}


@pytest.mark.anyio
async def test_the_server_says_who_it_is_and_how_to_use_it(tmp_path: Path) -> None:
    for leg in ("memory/2026", "memory/2025"):
        async with connected(leg, settings_in(tmp_path)) as caller:
            info = caller.client.server_info
            assert info is not None
            assert (info.name, info.title) == ("convex-memory", "Convex Memory")
            assert "search_memory" in str(caller.client.instructions)
            capabilities = caller.client.server_capabilities
            assert capabilities.tools is not None
            assert capabilities.resources is not None
            assert capabilities.prompts is not None
            assert capabilities.completions is not None
    # Nothing was opened for that.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
@pytest.mark.parametrize("leg", ["memory/2026", "http/2026"])
async def test_long_calls_report_progress(leg: str, tmp_path: Path) -> None:
    seen: list[tuple[float, float | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    async with connected(leg, settings_in(tmp_path)) as caller:
        messages = [{"role": "user", "content": f"m{number}"} for number in range(30)]
        result = await caller.client.call_tool(
            "save_messages", {"messages": messages}, progress_callback=on_progress
        )
        assert result.is_error is False
        # A later answer on the same connection comes after every earlier notification.
        await caller.call("list_threads")
    assert seen == [(0, 30), (30, 30)]
