"""What the shim and the daemon are made of: messages looked at, builds compared, logs heard."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import environment as variables
from server.daemon.build import Build
from server.daemon.conversation import Conversation, refusal
from server.daemon.folder import Folder, Unavailable
from server.daemon.handshake import Hello
from server.daemon.hearing import HEARERS, DaemonLog, Hearers
from server.daemon.pool import PER_HOST, SharedPool
from server.daemon.reaching import NotRunning, reach
from server.daemon.starting import LOG_BYTES_MAX, put_aside
from server.settings import VARIABLES, Settings, default_data_dir
from tests.application.daemons import AnotherBuild
from tests.test_architecture import loaded_by


def call(request_id: Any, text: str = "") -> dict[str, Any]:
    arguments = {"key": text, "id": 5, "method": "initialize"}
    return {
        "jsonrpc": "2.0",
        "id": request_id,
        "method": "tools/call",
        "params": {"name": "cache_get", "arguments": arguments},
    }


def line(message: Any, separators: tuple[str, str] = (",", ":")) -> bytes:
    return json.dumps(message, separators=separators).encode() + b"\n"


# --- Looking at messages

ids = st.one_of(st.integers(-(2**53), 2**53), st.text(max_size=20))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    sent=st.lists(
        st.tuples(ids, values, st.permutations(range(4))),
        max_size=5,
        unique_by=lambda each: each[0],
    ),
    separators=st.sampled_from([(",", ":"), (", ", ": ")]),
    cut=st.integers(1, 40),
    answered=st.sets(st.integers(0, 4)),
)
def test_every_call_that_waits_is_known_however_it_is_written_and_cut(
    sent: list[tuple[Any, Any, list[int]]],
    separators: tuple[str, str],
    cut: int,
    answered: set[int],
) -> None:
    lines = b""
    for request_id, value, order in sent:
        message = call(request_id) | {"params": {"name": "x", "arguments": value, "id": 9}}
        members = list(message.items())
        lines += line(dict(members[at] for at in order), separators)
    conversation = Conversation()
    for start in range(0, len(lines), cut):
        conversation.said(lines[start : start + cut])
    waiting = [request_id for request_id, _, _ in sent]
    for at in sorted(answered):
        if at < len(sent):
            answer = line({"jsonrpc": "2.0", "id": sent[at][0], "result": {"id": 1}}, separators)
            assert conversation.answered(answer)
            waiting.remove(sent[at][0])
    assert conversation.lost() == waiting
    assert conversation.lost() == []


@pytest.mark.parametrize("size", [100, 70_000, 200_000])
@pytest.mark.parametrize("first", [True, False])
def test_a_long_call_is_known_by_its_ends(size: int, first: bool) -> None:
    message = call(7, "x" * size)
    members = list(message.items())
    conversation = Conversation()
    conversation.said(line(dict(members if first else members[::-1])))
    assert conversation.lost() == [7]


def test_what_is_no_request_waits_for_nothing() -> None:
    conversation = Conversation()
    for each in (
        b"GET / HTTP/1.1\n",
        b"\n",
        b"[]\n",
        b'{"jsonrpc":"2.0","id":5,\n',
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":3,"result":{}}\n',
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n',
        b'{"jsonrpc":"2.0","id":"\xff","method":"tools/call"\n',
        b"[" * 100_000 + b"\n",
    ):
        conversation.said(each)
    unanswered = conversation.lost()
    assert [each for each in unanswered if each != "�"] == []
    assert not conversation.waits
    assert conversation.answered(b'{"jsonrpc":"2.0","method":"notifications/message"}')


def test_a_cancelled_call_waits_for_nothing() -> None:
    conversation = Conversation()
    conversation.said(line(call(1)) + line(call("1")))
    conversation.said(
        line({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    )
    assert conversation.lost() == ["1"]


def test_another_server_is_told_how_the_connection_was_opened() -> None:
    conversation = Conversation()
    opening = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"x": 1}}
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    kept = {"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": "a:b"}}
    dropped = {**kept, "id": 2, "params": {"uri": "a:c"}}
    no_more = {**dropped, "id": 3, "method": "resources/unsubscribe"}
    listing = {"jsonrpc": "2.0", "id": 4, "method": "tools/list"}
    for message in (opening, initialized, kept, dropped, no_more):
        conversation.said(line(message))
        if "id" in message:
            conversation.answered(line({"jsonrpc": "2.0", "id": message["id"], "result": {}}))
    conversation.said(line(listing) + line(call(5)))
    assert conversation.lost() == [5]
    assert conversation.waits
    told = [json.loads(each) for each in conversation.opening()]
    again = [told[0]["id"], told[2]["id"]]
    assert told == [{**opening, "id": again[0]}, initialized, {**kept, "id": again[1]}, listing]
    for request_id in again:
        # The host has had its answer.
        assert not conversation.answered(line({"jsonrpc": "2.0", "id": request_id, "result": {}}))
    # What a server did not survive twice is not tried a third time.
    assert conversation.lost() == [4]


def test_a_handshake_that_was_not_answered_is_made_by_the_next_server() -> None:
    conversation = Conversation()
    opening = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}
    conversation.said(line(opening))
    assert conversation.lost() == []
    assert [json.loads(each) for each in conversation.opening()] == [opening]
    assert conversation.answered(line({"jsonrpc": "2.0", "id": 0, "result": {}}))


def test_a_refusal_is_an_error_of_json_rpc() -> None:
    told = json.loads(refusal("a"))
    assert (told["id"], told["error"]["code"]) == ("a", -32603)


# --- Builds


def test_which_build_makes_room_for_which() -> None:
    other = AnotherBuild()
    here, newer, older = other.here, other.newer(), other.older()
    assert newer.is_newer(here)
    assert here.is_newer(older)
    assert not older.is_newer(here)
    assert Build("/a", "0.10.0", 0, "x").is_newer(Build("/b", "0.9.9", 5, "y"))
    assert Build("/a", "1", 6, "x").is_newer(Build("/b", "1", 5, "y"))
    # Of one place, what is on the disk now counts, even where it was put back.
    assert here.is_newer(other.changed())
    assert other.changed().is_newer(here)
    assert Build.from_json(here.as_json()).is_same(here)
    assert not here.is_newer(here)


def test_a_changed_checkout_is_another_build(tmp_path: Path) -> None:
    program = "import json; from server.daemon.build import Build; print(Build.here().as_json())"
    root = Path(__file__).parents[2]
    for package in ("server", "tools"):
        shutil.copytree(root / package, tmp_path / package)
    shutil.copy2(root / "pyproject.toml", tmp_path)

    def build() -> str:
        import subprocess

        return subprocess.run(
            [
                sys.executable,
                "-P",
                "-c",
                f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; {program}",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    first = build()
    assert "'version': '0.1.0'" in first
    assert build() == first
    (tmp_path / "tools" / "cache.py").write_text("# edited\n")
    changed = build()
    assert changed != first
    (tmp_path / "server" / "demo.py").unlink()
    assert build() != changed


def test_an_installed_build_is_known_by_its_list_of_files(tmp_path: Path) -> None:
    from server.daemon import build

    (tmp_path / "convex_memory-1.2.3.dist-info").mkdir()
    (tmp_path / "convex_memory-1.2.3.dist-info" / "RECORD").write_text("a,b,c\n")
    found = build._installed(str(tmp_path), "there")
    assert found is not None
    assert (found.root, found.version) == ("there", "1.2.3")
    (tmp_path / "convex_memory-1.2.3.dist-info" / "RECORD").write_text("a,b,c,d\n")
    again = build._installed(str(tmp_path), "there")
    assert again is not None
    assert again.is_newer(found)


# --- The folder


def test_one_process_holds_the_lock(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "data"))
    folder.prepare()
    first = folder.lock()
    assert first is not None
    assert folder.lock() is None
    os.close(first)
    second = folder.lock()
    assert second is not None
    # A folder that was replaced has a lock of its own.
    shutil.rmtree(folder.path)
    folder.prepare()
    third = folder.lock()
    assert third is not None
    os.close(second)
    os.close(third)


def test_somebody_elses_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(str(tmp_path))
    folder.prepare()
    real = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: real + 1)
    with pytest.raises(Unavailable, match="belongs to you"):
        folder.prepare()
    assert folder.connect() is None


def test_a_folder_that_cannot_be_written_has_no_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, mode: int = 0o777) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    folder = Folder(str(tmp_path))
    with pytest.raises(NotRunning):
        reach(folder, {}, may_start=False)
    with pytest.raises(Unavailable, match="cannot be made: Permission denied"):
        reach(folder, {})


@pytest.mark.parametrize(
    "told", [b"", b"nonsense\n", b"[]\n", b"{}\n", b'{"convex-memory":1,"ask":"serve"}\n']
)
def test_what_is_no_handshake_is_refused(told: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Hello.read(told)


def test_a_handshake_says_what_it_was_told() -> None:
    hello = Hello("serve", Build.here(), "token", {"A": "b"})
    read = Hello.read(hello.line())
    assert (read.ask, read.token, read.environment) == ("serve", "token", {"A": "b"})
    assert (read.protocol, read.build.is_same(hello.build)) == (hello.protocol, True)


# --- Settings


@pytest.mark.anyio
async def test_hosts_of_several_resources_share_what_is_opened(tmp_path: Path) -> None:
    mara = Settings(data_dir=tmp_path, embedder="off", resource_id="mara")
    ilan = mara.model_copy(update={"resource_id": "ilan", "toolsets": ("memory",)})
    reader = mara.model_copy(update={"read_only": True})
    async with anyio.create_task_group() as tasks:
        pool = SharedPool(tasks)
        async with (
            pool.use(mara, Hearers()) as of_mara,
            pool.use(ilan, Hearers()) as of_ilan,
            pool.use(reader, Hearers()) as of_reader,
        ):
            assert of_mara is of_ilan
            assert of_reader is not of_mara
        pool.close()


def test_the_variables_are_those_of_the_settings() -> None:
    assert set(variables.NAMES) == set(VARIABLES)
    assert len(variables.NAMES) == len(VARIABLES)
    assert set(Settings.model_fields) >= PER_HOST


@pytest.mark.parametrize("base", [None, "/somewhere/else", "", "relative"])
def test_the_default_folder_is_that_of_platformdirs(
    base: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from platformdirs import user_data_path

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    if base is not None:
        monkeypatch.setenv("XDG_DATA_HOME", base)
    assert default_data_dir() == user_data_path("convex-memory", appauthor=False)


def test_a_process_of_ours_is_given_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    environment = variables.without_settings()
    assert "OPENAI_API_KEY" not in environment
    assert environment["SOMETHING_ELSE"] == "kept"


# --- Logs


def test_each_host_hears_what_concerns_it_from_its_level_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet: list[str] = []
    curious: list[str] = []
    hosts = Hearers(logging.ERROR, quiet.append), Hearers(logging.DEBUG, curious.append)
    both = Hearers()
    for host in hosts:
        both.add(host)
    logger = logging.getLogger("tests.hearing")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [DaemonLog(None)])
    monkeypatch.setattr(logger, "level", logging.DEBUG)
    logger.debug("to nobody")
    logger.warning("of nobody")
    token = HEARERS.set(both)
    logger.debug("small")
    both.remove(hosts[1])
    logger.debug("unheard")
    logger.error("large")
    HEARERS.reset(token)

    def texts(lines: list[str]) -> list[str]:
        return [json.loads(each)["message"] for each in lines]

    assert texts(quiet) == ["large"]
    assert texts(curious) == ["small"]
    assert texts(capsys.readouterr().err.splitlines()) == ["of nobody", "small", "large"]


def test_a_log_that_is_too_long_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert not put_aside(str(log))
    log.write_text("x" * LOG_BYTES_MAX)
    assert not put_aside(str(log))
    log.write_text("x" * (LOG_BYTES_MAX + 1))
    assert put_aside(str(log))
    assert [each.name for each in tmp_path.iterdir()] == ["log.1"]


# --- What a host starts


def test_the_shim_loads_the_standard_library_alone() -> None:
    loaded = loaded_by("import server.daemon.shim")
    ours = {"server", "server.environment", "server.daemon"}
    parts = ("build", "conversation", "folder", "handshake", "reaching", "shim", "starting")
    known = set(sys.stdlib_module_names)
    foreign = {name for name in loaded if name.partition(".")[0] not in known}
    assert {name for name in foreign if name.startswith(("server", "convex", "tools"))} == ours | {
        f"server.daemon.{part}" for part in parts
    }
    heavy = {"asyncio", "typing", "subprocess", "pathlib", "dataclasses", "logging", "argparse"}
    assert loaded & heavy == set()


def test_the_library_itself_loads_next_to_nothing() -> None:
    before = loaded_by("pass")
    assert loaded_by("import convex_memory") - before <= {
        "__future__", "convex_memory", "importlib", "warnings", "importlib._bootstrap",
        "importlib._bootstrap_external",
    }  # fmt: skip
