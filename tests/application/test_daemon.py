"""One daemon serves all hosts of a folder: who starts it, who may use it, how it ends."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from server.cli import main
from server.daemon import handshake
from server.daemon.build import Build
from server.daemon.command import finding
from server.daemon.folder import Folder, Unavailable
from server.daemon.handshake import Hello
from server.daemon.reaching import question, reach
from server.daemon.serving import Daemon
from server.settings import Settings
from tests.application.connections import ALONE, FOLDER, ROOT, nobody_can_write
from tests.application.daemons import (
    AnotherBuild,
    command,
    daemons_in,
    environment,
    is_running,
    kill,
    pid_of,
    status,
    wait_for_the_end,
)
from tests.application.stdio_wire import Wire, wire_to

pytestmark = pytest.mark.anyio

SECRET = "sk-a-secret-that-nobody-else-may-see"
LOST = -32603


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / FOLDER))


async def answers(wire: Wire) -> None:
    result = await wire.call("cache_get", key="nothing")
    assert result["structuredContent"]["found"] is False


@asynccontextmanager
async def host(settings: dict[str, str]) -> AsyncIterator[Wire]:
    """A host of 2025 that ends as it should."""
    async with wire_to(settings) as wire:
        await wire.initialize()
        yield wire
        assert await wire.end() == b""
        assert wire.process.returncode == 0


# --- Sharing


async def test_hosts_share_a_daemon_and_keep_their_own_settings(
    tmp_path: Path, folder: Folder
) -> None:
    mara = environment(tmp_path, MEMORY_RESOURCE_ID="mara")
    ilan = environment(
        tmp_path, MEMORY_RESOURCE_ID="ilan", MEMORY_TOOLSETS="memory", MEMORY_RESTORABLE_MS="0"
    )
    reader = environment(tmp_path, MEMORY_RESOURCE_ID="mara", MEMORY_READ_ONLY="true")
    async with host(mara) as one, host(ilan) as other, host(reader) as reading:
        told = status(folder)
        assert told is not None
        assert told["connections"] == 3
        assert daemons_in(str(tmp_path)) == [told["pid"]]
        await one.call("save_message", role="user", content="of mara", thread_id="t")
        listed = (await one.call("list_threads"))["structuredContent"]["threads"]
        assert [thread["id"] for thread in listed] == ["t"]
        assert (await other.call("list_threads"))["structuredContent"]["threads"] == []
        seen = (await reading.call("list_threads"))["structuredContent"]["threads"]
        assert [thread["id"] for thread in seen] == ["t"]
        assert "cache_get" not in {
            tool["name"] for tool in (await other.request("tools/list"))["tools"]
        }
        refused = await reading.call("save_message", role="user", content="x")
        assert refused["isError"] is True
        assert "switched off" in refused["content"][0]["text"]
    wait_for_the_end(told["pid"])
    assert daemons_in(str(tmp_path)) == []


async def test_twenty_hosts_that_start_at_once_start_one_daemon(
    tmp_path: Path, folder: Folder
) -> None:
    for round_number, hosts in enumerate((20, 2)):
        pids: set[int] = set()
        ready = 0
        all_ready = anyio.Event()

        async def take_part(number: int, count: int, prefix: str) -> None:
            nonlocal ready
            async with host(environment(tmp_path)) as wire:
                key = f"{prefix}-{number}"
                await wire.call("cache_set", key=key, value=number)
                pids.update(daemons_in(str(tmp_path)))  # noqa: B023
                ready += 1
                if ready == count:
                    all_ready.set()  # noqa: B023
                await all_ready.wait()  # noqa: B023
                value = (await wire.call("cache_get", key=key))["structuredContent"]["value"]
                assert value == number

        async with anyio.create_task_group() as tasks:
            for number in range(hosts):
                tasks.start_soon(take_part, number, hosts, str(round_number))
            await all_ready.wait()
            told = status(folder)
            assert told is not None
            assert told["connections"] == hosts
            pid = int(told["pid"])
            assert pids == {pid}
        wait_for_the_end(pid)


async def test_a_daemon_without_hosts_stays_for_the_next_one_and_leaves_when_told(
    tmp_path: Path,
    folder: Folder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stays = environment(tmp_path, MEMORY_DAEMON_IDLE_MS="60000")
    async with host(stays) as wire:
        await answers(wire)
        pid = pid_of(folder)
    async with host(stays) as wire:
        await answers(wire)
        assert pid_of(folder) == pid
    for name, value in stays.items():
        monkeypatch.setenv(name, value)
    assert main(["daemon", "--status"]) == 0
    told = capsys.readouterr().out
    assert f"process {pid}, since 20" in told
    assert "0 connections" in told
    found = finding(Settings.from_environment())
    assert found.ok
    assert found.told.startswith(f"version {Build.here().version} of {Build.here().root}")
    assert main(["daemon"]) == 1
    assert f"process {pid}" in capsys.readouterr().out
    assert main(["daemon", "--stop"]) == 0
    wait_for_the_end(pid)
    assert str(pid) in capsys.readouterr().out
    assert main(["daemon", "--status"]) == 1
    assert main(["daemon", "--stop"]) == 0
    assert capsys.readouterr().out == f"No daemon runs for {folder.data_dir}.\n" * 2
    assert finding(Settings.from_environment()).told.startswith("none runs now")


async def test_an_idle_daemon_leaves_by_itself(tmp_path: Path, folder: Folder) -> None:
    async with host(environment(tmp_path, MEMORY_DAEMON_IDLE_MS="50")):
        pid = pid_of(folder)
    wait_for_the_end(pid)
    assert sorted(os.listdir(folder.path)) == ["lock", "log"]
    assert Path(folder.log).read_text() == ""


async def test_a_daemon_whose_folder_is_gone_leaves(tmp_path: Path, folder: Folder) -> None:
    async with host(environment(tmp_path, MEMORY_DAEMON_IDLE_MS="60000")):
        pid = pid_of(folder)
    os.rename(tmp_path / FOLDER, tmp_path / "elsewhere")
    wait_for_the_end(pid)


async def test_the_command_can_be_the_daemon(tmp_path: Path, folder: Folder) -> None:
    settings = environment(tmp_path)
    process = await anyio.open_process(
        [sys.executable, "-m", "convex_memory", "daemon"],
        cwd=ROOT,
        env={**os.environ, **settings},
    )
    async with process:
        assert process.stderr is not None
        announced = await BufferedByteReceiveStream(process.stderr).receive_until(b"\n", 1 << 16)
        assert announced == f"the daemon of {folder.data_dir}, process {process.pid}".encode()
        async with host(settings) as wire:
            await answers(wire)
            assert pid_of(folder) == process.pid
        assert process.returncode is None
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


# --- Who may use it


async def test_nobody_else_gets_in_and_nothing_secret_is_told(
    tmp_path: Path, folder: Folder
) -> None:
    settings = environment(tmp_path, OPENAI_API_KEY=SECRET, MEMORY_LOG_LEVEL="DEBUG")
    async with host(settings) as wire:
        await answers(wire)
        pid = pid_of(folder)
        assert stat.S_IMODE(os.stat(folder.path).st_mode) == 0o700
        for name in os.listdir(folder.path):
            assert stat.S_IMODE(os.lstat(os.path.join(folder.path, name)).st_mode) == 0o600, name
        for place in ("cmdline", "environ"):
            assert SECRET.encode() not in Path(f"/proc/{pid}/{place}").read_bytes()
        assert len(os.listdir(f"/proc/{pid}/fd")) < 30
    wait_for_the_end(pid)
    assert SECRET not in Path(folder.log).read_text()


async def test_a_folder_that_others_may_enter_has_no_daemon(tmp_path: Path, folder: Folder) -> None:
    os.makedirs(folder.path)
    os.chmod(folder.path, 0o755)
    settings = environment(tmp_path)
    async with host(settings) as wire:
        await answers(wire)
        assert daemons_in(str(tmp_path)) == []
    found = finding(Settings.from_environment(settings))
    assert not found.ok
    assert found.told.startswith(f"{folder.path} must be a folder that belongs to you")
    assert "0700" in found.told


@pytest.mark.parametrize("obstacle", ["a file in its place", "a lock that is a folder"])
async def test_where_no_daemon_can_run_the_server_runs_in_process(
    tmp_path: Path, folder: Folder, obstacle: str
) -> None:
    if obstacle == "a file in its place":
        os.makedirs(folder.data_dir)
        Path(folder.path).touch()
    else:
        os.makedirs(os.path.join(folder.path, "lock"))
        os.chmod(folder.path, 0o700)
    async with host(environment(tmp_path)) as wire:
        await answers(wire)
        assert daemons_in(str(tmp_path)) == []


async def test_it_is_off_when_it_is_switched_off(tmp_path: Path, folder: Folder) -> None:
    async with host({**environment(tmp_path), **ALONE}) as wire:
        await answers(wire)
    assert not os.path.exists(folder.path)
    found = finding(Settings.from_environment({**environment(tmp_path), **ALONE}))
    assert (found.ok, found.told[:4]) == (True, "off:")


async def test_a_path_too_long_for_a_socket_has_one_elsewhere(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 40)
    folder = Folder(str(data_dir))
    assert folder.socket_path() == Folder(f"{data_dir}/../{data_dir.name}").socket_path()
    async with host(environment(tmp_path, MEMORY_DATA_DIR=str(data_dir))) as wire:
        await answers(wire)
        pid = pid_of(folder)
        assert stat.S_ISSOCK(os.stat(folder.socket_path()).st_mode)
        assert len(folder.socket_path()) < 100
        assert stat.S_IMODE(os.stat(os.path.dirname(folder.socket_path())).st_mode) == 0o700
    wait_for_the_end(pid)
    assert not os.path.exists(folder.socket_path())


WITHOUT_UNIX_SOCKETS = (
    "import socket; vars(socket).pop('AF_UNIX'); import sys; sys.argv[1:] = [];"
    "from convex_memory.__main__ import main; sys.exit(main())"
)


async def test_without_unix_sockets_it_listens_on_loopback_for_those_with_the_token(
    tmp_path: Path,
) -> None:
    folder = Folder(str(tmp_path / FOLDER), loopback=True)
    async with wire_to(environment(tmp_path), command=("-c", WITHOUT_UNIX_SOCKETS)) as wire:
        await wire.initialize()
        await answers(wire)
        pid = pid_of(folder)
        assert daemons_in(str(tmp_path)) == [pid]
        assert stat.S_IMODE(os.stat(os.path.join(folder.path, "address")).st_mode) == 0o600
        connected = folder.connect()
        assert connected is not None
        connection, token = connected
        with connection:
            assert len(token) == 64
            wrong = Hello(handshake.SERVE, Build.here(), token[::-1], environment(tmp_path))
            assert handshake.ask(connection, wrong) is None
        assert await wire.end() == b""
    wait_for_the_end(pid)
    assert not os.path.exists(os.path.join(folder.path, "address"))


# --- Other versions


@asynccontextmanager
async def daemon_of(folder: Folder, build: Build) -> AsyncIterator[anyio.Event]:
    """Run a daemon in this process that takes itself for another build; tell when it has left."""
    folder.prepare()
    lock = folder.lock()
    assert lock is not None
    left = anyio.Event()
    daemon = Daemon(folder, build, lock, *folder.listen(), stays=True)

    async def run() -> None:
        await daemon.run()
        left.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        try:
            yield left
        finally:
            tasks.cancel_scope.cancel()


async def asked(folder: Folder, ask: str) -> dict[str, Any] | None:
    answered = await anyio.to_thread.run_sync(question, folder, ask)
    if answered is not None:
        answered[1].close()
        return answered[0]
    return None


@pytest.mark.parametrize("other", ["older", "changed"])
async def test_an_older_daemon_makes_room_and_serves_its_hosts_to_the_end(
    tmp_path: Path, folder: Folder, other: str
) -> None:
    build: Build = getattr(AnotherBuild(), other)()
    settings = environment(tmp_path)
    async with daemon_of(folder, build) as left:
        connected = folder.connect()
        assert connected is not None
        connection = connected[0]
        hello = Hello(handshake.SERVE, build, "", settings)
        answer = await anyio.to_thread.run_sync(handshake.ask, connection, hello)
        assert answer is not None
        assert answer["verdict"] == handshake.WELCOME
        async with host(settings) as wire:
            await answers(wire)
            told = await asked(folder, handshake.STATUS)
            assert told is not None
            assert told["pid"] in daemons_in(str(tmp_path))
            assert told["connections"] == 1
            # Who was served before still is, and the old daemon waits for it.
            assert not left.is_set()
            connection.sendall(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n')
            line = await anyio.to_thread.run_sync(connection.recv, 1 << 16)
            assert b'"id":1' in line
            connection.close()
            with anyio.fail_after(20):
                await left.wait()
            await answers(wire)


async def test_beside_a_newer_daemon_the_server_runs_in_process(
    tmp_path: Path, folder: Folder
) -> None:
    async with daemon_of(folder, AnotherBuild().newer()) as left:
        async with host(environment(tmp_path)) as wire:
            await answers(wire)
            told = await asked(folder, handshake.STATUS)
            assert told is not None
            assert (told["version"], told["connections"]) == ("999.0", 0)
            assert daemons_in(str(tmp_path)) == []
        assert not left.is_set()


async def test_settings_that_are_wrong_start_no_daemon_that_stays(tmp_path: Path) -> None:
    told = command(env=environment(tmp_path, MEMORY_TOOLSETS="nonsense"))
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("convex-memory: MEMORY_TOOLSETS")
    for pid in daemons_in(str(tmp_path)):
        wait_for_the_end(pid)


# --- What dies


async def test_what_a_dead_daemon_left_is_in_nobodys_way(tmp_path: Path, folder: Folder) -> None:
    folder.prepare()
    lock = folder.lock()
    assert lock is not None
    listener, _ = folder.listen()
    listener.close()
    os.close(lock)
    assert stat.S_ISSOCK(os.stat(folder.socket_path()).st_mode)
    async with host(environment(tmp_path)) as wire:
        await answers(wire)
        assert daemons_in(str(tmp_path)) == [pid_of(folder)]


async def test_a_daemon_that_cannot_start_is_told_apart_from_one_that_is_slow(
    tmp_path: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        reach(folder, environment(tmp_path), python="/bin/false")

    with pytest.raises(Unavailable, match=r"ended as soon as it was started; see .*log"):
        await anyio.to_thread.run_sync(fail)
    with pytest.raises(Unavailable, match="could not be started: No such file"):
        reach(folder, environment(tmp_path), python="/nowhere/python")


async def test_a_killed_host_leaves_nothing_in_the_daemon(tmp_path: Path, folder: Folder) -> None:
    settings = environment(tmp_path)
    async with host(settings) as stays:
        await answers(stays)
        pid = pid_of(folder)

        def open_files() -> int:
            return len(os.listdir(f"/proc/{pid}/fd"))

        before = 0
        for _ in range(3):
            async with wire_to(settings) as wire:
                await wire.initialize()
                with nobody_can_write(tmp_path):
                    await wire.send(
                        b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":'
                        b'{"name":"cache_increment","arguments":{"key":"n"}}}'
                    )
                    await answers(wire)
                    wire.process.kill()
                    await wire.process.wait()
            with anyio.fail_after(20):
                while (told := status(folder)) and told["connections"] != 1:
                    await anyio.lowlevel.checkpoint()
                # Of the first one it keeps what every host uses: the database is open now.
                before = before or open_files()
                while open_files() > before:
                    await anyio.lowlevel.checkpoint()
        await answers(stays)
    assert Path(folder.log).read_text() == ""


async def test_a_killed_daemon_is_replaced_and_the_host_goes_on(
    tmp_path: Path, folder: Folder
) -> None:
    async with wire_to(environment(tmp_path)) as wire:
        await wire.initialize()
        failures = 0
        for number in range(2):
            result = await wire.call("cache_set", key=f"k{number}", value=number)
            assert result["isError"] is False
            kill(pid_of(folder))
            answer = await wire.answer_to(
                b'{"jsonrpc":"2.0","id":"x","method":"tools/call",'
                b'"params":{"name":"cache_get","arguments":{"key":"k%d"}}}' % number
            )
            assert answer["id"] == "x"
            if "error" in answer:
                failures += 1
            else:
                assert answer["result"]["structuredContent"]["value"] == number
            # At most one failed: the next one is answered, whatever became of the last.
            result = await wire.call("cache_get", key=f"k{number}")
            assert result["structuredContent"]["value"] == number
        assert await wire.end() == b""
    assert failures <= 2


async def test_calls_in_flight_in_a_killed_daemon_are_told_and_questions_are_asked_again(
    tmp_path: Path, folder: Folder
) -> None:
    async with wire_to(environment(tmp_path)) as wire:
        await wire.initialize()
        await wire.call("cache_set", key="k", value=1)
        pid = pid_of(folder)
        os.kill(pid, signal.SIGSTOP)
        for line in (
            b'{"jsonrpc":"2.0","id":71,"method":"tools/call",'
            b'"params":{"name":"cache_get","arguments":{"key":"k"}}}',
            b'{"method":"resources/templates/list","params":{},"jsonrpc":"2.0","id":"72"}',
        ):
            await wire.send(line)
        # Half a message, whose other half comes when nobody remembers the first.
        half = (
            b'{"jsonrpc":"2.0","id":73,"method":"tools/call",',
            b'"params":{"name":"cache_get","arguments":{"key":"k"}}}',
        )
        await wire._out.send(half[0])
        await passed_on(wire)
        kill(pid)
        told = {}
        for _ in range(2):
            answer = await wire.receive()
            told[answer["id"]] = answer
        assert told[71]["error"]["code"] == LOST
        assert told[71]["error"]["data"] == {"code": "server_lost"}
        assert "not known" in told[71]["error"]["message"]
        assert told["72"]["result"]["resourceTemplates"]
        await wire.send(half[1])
        answer = await wire.receive()
        assert (answer["id"], answer["error"]["code"]) == (73, LOST)
        await answers(wire)
        assert pid_of(folder) != pid
        assert await wire.end() == b""


async def passed_on(wire: Wire) -> None:
    """Return when the shim has read all that was sent, and waits for more."""
    stdin = f"/proc/{wire.process.pid}/fd/0"
    with anyio.fail_after(20):
        while not is_read(stdin) or not waits(wire.process.pid):
            await anyio.lowlevel.checkpoint()


def is_read(pipe: str) -> bool:
    import array
    import fcntl
    import termios

    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        left = array.array("i", [0])
        fcntl.ioctl(descriptor, termios.FIONREAD, left)
        return left[0] == 0
    finally:
        os.close(descriptor)


def waits(pid: int) -> bool:
    """Whether every thread of a process sleeps."""
    states = [
        path.read_text().rpartition(")")[2].split()[0]
        for path in Path(f"/proc/{pid}/task").glob("*/stat")
    ]
    return set(states) == {"S"}


async def test_a_host_whose_python_has_nothing_installed_is_served_all_the_same(
    tmp_path: Path, folder: Folder
) -> None:
    settings = environment(tmp_path)
    async with host(settings) as wire:
        async with wire_to(settings, command=("-S", "-m", "convex_memory")) as bare:
            await bare.initialize()
            await answers(bare)
            kill(pid_of(folder))
            # What serves is started with the Python that the last daemon had.
            await bare.answer_to(b'{"jsonrpc":"2.0","id":"x","method":"tools/list"}')
            await answers(bare)
            assert await bare.end() == b""
        await wire.request("tools/list")


async def test_when_no_daemon_can_be_had_any_more_the_host_gets_a_server_of_its_own(
    tmp_path: Path, folder: Folder
) -> None:
    async with host(environment(tmp_path)) as wire:
        await wire.call("cache_set", key="k", value=1)
        kill(pid_of(folder))
        os.chmod(folder.path, 0o755)
        await wire.answer_to(b'{"jsonrpc":"2.0","id":"x","method":"tools/list"}')
        result = await wire.call("cache_get", key="k")
        assert result["structuredContent"]["value"] == 1
        assert daemons_in(str(tmp_path)) == []


URI = "memory://schedules/s"


async def test_a_subscription_outlives_the_daemon(tmp_path: Path, folder: Folder) -> None:
    settings = environment(
        tmp_path,
        MEMORY_TOOLSETS="schedules",
        MEMORY_SCHEDULE_ACTION="notify",
        MEMORY_SCHEDULE_POLL_MS="20",
    )
    async with wire_to(settings) as wire:
        await wire.initialize()
        await wire.request("resources/subscribe", uri=URI)
        kill(pid_of(folder))
        target = {"type": "agent", "agentId": "home", "prompt": "x"}
        async with host(settings) as other:
            await other.call("create_schedule", schedule_id="s", cron="* * * * * *", target=target)
        message = await wire.receive()
        assert message["method"] == "notifications/resources/updated"
        assert message["params"]["uri"] == URI


async def test_a_daemon_told_to_end_answers_what_it_was_asked(
    tmp_path: Path, folder: Folder
) -> None:
    async with wire_to(environment(tmp_path)) as wire:
        await wire.initialize()
        await wire.call("cache_set", key="k", value=1)
        pid = pid_of(folder)
        with nobody_can_write(tmp_path):
            await wire.send(
                b'{"jsonrpc":"2.0","id":71,"method":"tools/call",'
                b'"params":{"name":"cache_increment","arguments":{"key":"n"}}}'
            )
            await answers(wire)
            os.kill(pid, signal.SIGTERM)
            with anyio.fail_after(20):
                while status(folder) is not None:
                    await anyio.lowlevel.checkpoint()
            assert is_running(pid)
        answer = await wire.receive()
        assert (answer["id"], answer["result"]["structuredContent"]) == (71, {"value": 1})
        wait_for_the_end(pid)
        result = await wire.call("cache_increment", key="n")
        assert result["structuredContent"] == {"value": 2}
        assert pid_of(folder) != pid
        assert await wire.end() == b""
    assert Path(folder.log).read_text() == ""
