"""`convex-memory doctor`, and that our functions are closed to callers without the key."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from convex_memory.embedded import DATABASE_NAME, checking
from server import convex_access, folder_checks
from server.cli import main
from server.function_files import load_source
from tests.application.connections import FOLDER, ROOT, connected, settings_in
from tests.bridge.serving import ADMIN_KEY, BRIDGE, Bridge, bridge, node, serving

OURS = ROOT / "convex"
MASTRAS = BRIDGE / "mastra_reference"
PROTOCOL = (
    "mastra/cache:handle",
    "mastra/nativeVector:query",
    "mastra/nativeVector:read",
    "mastra/nativeVector:write",
    "mastra/storage:handle",
)
KEY = "prod:happy-animal-123|eyJ2MiI6ImtleSJ9"


class Doctor:
    """The command in this process, on the settings of one test."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self._caplog = caplog
        self.config: Any = None

    def __call__(self, **settings: str) -> dict[str, tuple[bool, str]]:
        """Run it, and return what it found: subject → whether it is right, and what was told."""
        for name, value in settings.items():
            self._monkeypatch.setenv(name, value)
        self._capsys.readouterr()
        status = main(["doctor"])
        captured = self._capsys.readouterr()
        key = settings.get("CONVEX_ADMIN_KEY")
        if key is not None:
            assert key not in captured.out + captured.err + self._caplog.text
        assert captured.err == ""
        findings, _, config = captured.out.partition("\nTo connect an assistant")
        self.config = json.loads(config.partition("\n")[2])
        found = {}
        for line in findings.splitlines():
            match = re.fullmatch(r"(ok  |FAIL) (\S+(?: \S+)?)\s+(.+)", line)
            assert match is not None, line
            found[match[2]] = (match[1] == "ok  ", match[3])
        assert status == (0 if all(is_right for is_right, _ in found.values()) else 1)
        return found

    def on(self, url: str, key: str = ADMIN_KEY, **settings: str) -> dict[str, tuple[bool, str]]:
        """The same, for a Convex deployment."""
        return self(CONVEX_URL=url, CONVEX_ADMIN_KEY=key, **settings)


@pytest.fixture
def doctor(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> Doctor:
    for name in list(os.environ):
        if name.startswith(("CONVEX_", "MEMORY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MEMORY_DATA_DIR", str(tmp_path / FOLDER))
    return Doctor(monkeypatch, capsys, caplog)


@pytest.fixture(scope="module")
def ours() -> Iterator[Bridge]:
    """Our functions, in an app with vector tables of its own."""
    with bridge(OURS, schema=BRIDGE / "our_functions/schema.ts") as running:
        yield running


@pytest.fixture(scope="module")
def mastras() -> Iterator[Bridge]:
    with bridge(MASTRAS) as running:
        yield running


@contextmanager
def in_production(folder: Path) -> Iterator[str]:
    """Serve functions as a production deployment does: it tells nobody why a call failed."""
    command = [node(), str(BRIDGE / "bridge.mjs"), "--dir", str(folder), "--port", "0"]
    command += ["--admin-key", ADMIN_KEY, "--redact", "--until-stdin-ends"]
    with serving(command, {}, stdin=subprocess.PIPE) as url:
        yield url


@pytest.fixture(scope="module")
def ours_in_production() -> Iterator[str]:
    with in_production(OURS) as url:
        yield url


@pytest.fixture(scope="module")
def mastras_in_production() -> Iterator[str]:
    with in_production(MASTRAS) as url:
        yield url


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What `convex-memory deployment` serves."""
    settings = {
        "MEMORY_DATA_DIR": str(tmp_path_factory.mktemp("embedded")),
        "MEMORY_DEPLOYMENT_KEY": ADMIN_KEY,
    }
    with serving(
        [sys.executable, "-m", "convex_memory", "deployment", "--port", "0"], settings
    ) as url:
        yield url


Answer = tuple[int, str, str]
"""Status, content type and body."""


@contextmanager
def web_server(answer: Callable[[str, Mapping[str, Any]], Answer]) -> Iterator[str]:
    """Serve what `answer` makes of a path and a JSON body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, content_type, text = answer(self.path, body)
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def deployment_of(
    functions: Mapping[str, Any],
) -> Callable[[str, Mapping[str, Any]], Answer]:
    """A deployment whose functions answer the same always, to everybody with or without a key."""

    def answer(path: str, body: Mapping[str, Any]) -> Answer:
        name = body["path"]
        reply: dict[str, Any] = {"status": "success", "value": functions.get(name)}
        if name not in functions:
            text = f"[Request ID: {os.urandom(8).hex()}] Server Error\nCould not find public "
            reply = {"status": "error", "errorMessage": f"{text}function for '{name}'."}
        return 200, "application/json", json.dumps(reply)

    return answer


# --- A local folder


def test_a_local_folder_is_looked_at(doctor: Doctor, tmp_path: Path) -> None:
    found = doctor()
    assert all(is_right for is_right, _ in found.values()), found
    assert str(tmp_path / FOLDER) in found["deployment"][1]
    assert found["database"][1].endswith("structure sound")
    [server] = doctor.config["mcpServers"].values()
    assert "env" not in server


def _stored(tmp_path: Path, count: int) -> sqlite3.Connection:
    """Store messages, and open the file to do harm to it."""

    async def save() -> None:
        async with connected("memory/2026", settings_in(tmp_path)) as caller:
            await caller.save("t", *(f"words of message {number}" for number in range(count)))

    asyncio.run(save())
    return sqlite3.connect(tmp_path / FOLDER / DATABASE_NAME, isolation_level=None)


def test_a_sound_folder_is_told_in_numbers(doctor: Doctor, tmp_path: Path) -> None:
    _stored(tmp_path, 5).close()
    found = doctor()
    assert found["words"] == (True, "5 messages searched, as they should be")
    assert found["vectors"] == (True, "0 of 0 index files there")
    assert found["disk"][0]


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("DELETE FROM message_text WHERE rowid <= 2", "2 messages are not searched"),
        ("DELETE FROM mastra_messages WHERE _sequence = 1", "1 texts are searched whose messages"),
        ("DELETE FROM message_turns WHERE sequence = 3", "of 1 messages the place"),
    ],
)
def test_words_that_do_not_fit_the_messages_are_told(
    doctor: Doctor, tmp_path: Path, harm: str, told: str
) -> None:
    with closing(_stored(tmp_path, 5)) as connection:
        connection.execute(harm)
    is_right, said = doctor()["words"]
    assert not is_right
    assert told in said
    assert "import into a new folder" in said


def test_index_files_that_are_gone_are_told_and_harm_nothing(
    doctor: Doctor, tmp_path: Path
) -> None:
    with closing(_stored(tmp_path, 1)) as connection:
        connection.execute("INSERT INTO vector_sidecars VALUES (13, 'gone', 'token', 0, 0)")
    assert doctor()["vectors"] == (
        True,
        "0 of 1 index files there; the others are made anew when they are needed",
    )


def test_damage_inside_the_file_is_told_with_what_to_do(doctor: Doctor, tmp_path: Path) -> None:
    with closing(_stored(tmp_path, 5)) as connection:
        [[root]] = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'mastra_messages'"
        ).fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / FOLDER / DATABASE_NAME).open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    is_right, said = doctor()["database"]
    assert not is_right
    assert "is damaged" in said
    assert "convex-memory backup --restore FILE" in said


def test_a_look_that_takes_too_long_is_cut_short_and_says_so(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stored(tmp_path, 100).close()
    monkeypatch.setattr(folder_checks, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(checking, "_STEPS", 1)
    found = doctor()
    assert "as far as could be read" in found["database"][1]
    assert "more messages than could be compared" in found["words"][1]


def test_a_disk_that_is_nearly_full_is_told(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_checks, "DISK_BYTES_LEAST", 1 << 60)
    is_right, said = doctor()["disk"]
    assert not is_right
    assert "free some space" in said


def test_free_room_that_a_file_of_an_earlier_version_keeps_is_told(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / FOLDER / DATABASE_NAME
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE earlier (x)")
        connection.execute("DROP TABLE earlier")
    _stored(tmp_path, 1).close()
    monkeypatch.setattr(folder_checks, "_FREE_PAGES_TOLD", 0)
    assert "of it free for new rows" in doctor()["database"][1]


def test_a_wrong_setting_is_a_finding(doctor: Doctor) -> None:
    found = doctor(MEMORY_TOOLSETS="nonsense")
    assert found["settings"][0] is False
    assert "MEMORY_TOOLSETS" in found["settings"][1]


@pytest.mark.parametrize("url", ["https://me:secret@host", "https://host/?adminKey=secret"])
def test_an_address_with_a_secret_in_it_is_refused_unseen(url: str, doctor: Doctor) -> None:
    found = doctor.on(url)
    assert found["settings"][0] is False
    assert "secret" not in str(found) + str(doctor.config).replace(url, "")


# --- Our functions


def test_our_functions_are_all_right(ours: Bridge, doctor: Doctor) -> None:
    indexes = {
        "articles": {
            "tableName": "contract_articles",
            "dimension": 3,
            "filterFields": ["lang", "topic"],
        }
    }
    found = doctor.on(ours.url, CONVEX_NATIVE_VECTOR_INDEXES=json.dumps(indexes))
    assert {subject: told for subject, (is_right, told) in found.items() if not is_right} == {}
    assert found["deployment"][1] == f"Convex {ours.url}"
    assert found["key"][1] == "accepted"
    assert f"version {load_source().version}" in found["functions"][1]
    assert found["storage"][1] == "mastra/storage:handle"
    assert found["cache"][1] == "mastra/cache:handle"
    assert found["index articles"][1] == "contract_articles, 3 dimensions"
    assert found["tables"] == (True, "in the schema")
    assert "as if they did not exist" in found["access"][1]
    [server] = doctor.config["mcpServers"].values()
    assert server["env"]["CONVEX_URL"] == ours.url
    assert set(server["env"]) == {"CONVEX_URL", "CONVEX_ADMIN_KEY"}


def test_our_functions_are_all_right_in_production(ours_in_production: str, doctor: Doctor) -> None:
    found = doctor.on(ours_in_production)
    assert {subject: told for subject, (is_right, told) in found.items() if not is_right} == {}


def test_the_local_folder_of_another_machine_is_as_good(embedded: str, doctor: Doctor) -> None:
    found = doctor.on(embedded)
    assert {subject: told for subject, (is_right, told) in found.items() if not is_right} == {}


def test_looking_changes_nothing(ours: Bridge, doctor: Doctor) -> None:
    tables = re.findall(r"^  (\w+): ", (OURS / "lib/tables.ts").read_text(), re.MULTILINE)
    tables = [table for table in tables if table.startswith(("mastra_", "memory_"))]
    assert len(tables) > 20
    ours.reset(1_767_225_600_000)
    doctor.on(ours.url)
    assert {table: ours.rows(table) for table in tables} == {table: [] for table in tables}


def test_a_key_that_is_refused_is_told_and_nothing_else_is_tried_with_it(
    ours: Bridge, doctor: Doctor
) -> None:
    found = doctor.on(ours.url, KEY)
    assert found["key"][0] is False
    assert "CONVEX_ADMIN_KEY" in found["key"][1]
    assert {"functions", "storage", "cache", "tables"} & found.keys() == set()
    assert found["access"][0] is True


@pytest.mark.parametrize(
    ("variable", "path", "subject"),
    [
        ("CONVEX_STORAGE_FUNCTION", "mastra/storage:handel", "storage"),
        ("CONVEX_CACHE_FUNCTION", "elsewhere:handle", "cache"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_with_its_setting(
    variable: str, path: str, subject: str, ours: Bridge, doctor: Doctor
) -> None:
    found = doctor.on(ours.url, **{variable: path})
    assert [name for name, (is_right, _) in found.items() if not is_right] == [subject]
    assert path in found[subject][1]
    assert variable in found[subject][1]


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"tableName": "nowhere", "dimension": 3}, ["nowhere", "contract_articles"]),
        ({"tableName": "contract_articles", "dimension": 4}, ["3", "4"]),
        (
            {"tableName": "contract_articles", "dimension": 3, "vectorIndexName": "by_x"},
            ["by_x", "by_embedding"],
        ),
        (
            {"tableName": "contract_articles", "dimension": 3, "filterFields": ["lang", "mood"]},
            ["mood", "lang"],
        ),
    ],
)
def test_an_index_that_the_schema_does_not_have_so_is_told(
    index: dict[str, Any], words: list[str], ours: Bridge, doctor: Doctor
) -> None:
    found = doctor.on(ours.url, CONVEX_NATIVE_VECTOR_INDEXES=json.dumps({"mine": index}))
    is_right, told = found["index mine"]
    assert is_right is False
    assert [word for word in [*words, "CONVEX_NATIVE_VECTOR_INDEXES"] if word not in told] == []


def test_a_native_function_that_is_not_there_is_told(ours: Bridge, doctor: Doctor) -> None:
    indexes = json.dumps({"mine": {"tableName": "contract_articles", "dimension": 3}})
    found = doctor.on(
        ours.url, CONVEX_NATIVE_VECTOR_INDEXES=indexes, CONVEX_NATIVE_VECTOR_MUTATION="a:b"
    )
    assert found["index mine"][0] is False
    assert "a:b" in found["index mine"][1]


# --- Functions of another version, and of others


def test_functions_of_other_versions_are_told_with_what_to_do(doctor: Doctor) -> None:
    source = load_source()
    version, listed = source.version, list(source.functions)
    cases: list[tuple[Any, list[str]]] = [
        ({"version": str(version + 1), "functions": listed}, ["newer", "Update convex-memory"]),
        ({"version": str(version - 1), "functions": listed}, ["older", "npx convex deploy"]),
        ({"version": str(version), "functions": listed[1:]}, [listed[0], "npx convex deploy"]),
        ({"version": "0", "functions": []}, ["older", *listed, "convex-memory functions DIR"]),
        ({"version": "?"}, ["something else", "npx convex deploy"]),
        ([], ["something else", "npx convex deploy"]),
    ]
    for answer, words in cases:
        with web_server(deployment_of({"memory/meta:version": answer})) as url:
            is_right, told = doctor.on(url)["functions"]
        assert is_right is False
        assert [word for word in words if word not in told] == []


def test_a_schema_without_our_tables_is_told(doctor: Doctor) -> None:
    source = load_source()
    version = {"version": str(source.version), "functions": list(source.functions)}
    with web_server(deployment_of({"memory/meta:version": version})) as url:
        found = doctor.on(url)
    assert found["functions"][0] is True
    assert found["tables"][0] is False
    assert "memoryTables" in found["tables"][1]


def test_mastras_own_handlers_are_told_to_be_open_to_everybody(
    mastras: Bridge, doctor: Doctor
) -> None:
    found = doctor.on(mastras.url)
    is_right, told = found["access"]
    assert is_right is False
    assert told.startswith("OPEN TO EVERYBODY")
    assert set(re.findall(r"mastra/\w+:\w+", told)) == set(PROTOCOL)
    for word in ("delete every thread", "cache", "convex-memory functions DIR --force", "deploy"):
        assert word in told
    assert found["functions"][0] is False
    assert "None of ours" in found["functions"][1]
    assert (found["storage"][0], found["cache"][0]) == (True, True)


def test_mastras_handlers_cannot_hide_in_production_or_behind_other_settings(
    mastras_in_production: str, doctor: Doctor
) -> None:
    found = doctor.on(mastras_in_production, CONVEX_STORAGE_FUNCTION="elsewhere:handle")
    is_right, told = found["access"]
    assert is_right is False
    assert {"mastra/storage:handle", "mastra/cache:handle"} <= set(re.findall(r"[\w/]+:\w+", told))
    assert found["storage"][0] is False
    assert "None of ours" in found["functions"][1]


def test_one_of_ours_that_was_made_public_is_told(doctor: Doctor) -> None:
    with web_server(deployment_of({"memory/messages:save": {"saved": True}})) as url:
        is_right, told = doctor.on(url)["access"]
    assert is_right is False
    assert "memory/messages:save" in told


def test_access_that_could_not_be_seen_is_not_taken_for_closed(doctor: Doctor) -> None:
    def answer(path: str, body: Mapping[str, Any]) -> Answer:
        if body["path"] == "mastra/cache:handle":
            return 429, "application/json", '{"code":"TooMany","message":"Later."}'
        return deployment_of(functions)(path, body)

    functions: dict[str, Any] = {}
    with web_server(answer) as url:
        is_right, told = doctor.on(url)["access"]
        assert is_right is False
        assert "429" in told
        assert "OPEN" not in told
        functions["mastra/storage:handle"] = {"ok": True}
        is_right, told = doctor.on(url)["access"]
        assert is_right is False
        assert "OPEN TO EVERYBODY: mastra/storage:handle." in told


# --- What is not there


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def unreached(found: Mapping[str, tuple[bool, str]]) -> str:
    """What is told of a deployment that cannot be reached: that, and nothing after it."""
    assert list(found)[-1] == "deployment"
    is_right, told = found["deployment"]
    assert is_right is False
    return told


def test_a_host_that_does_not_exist(doctor: Doctor) -> None:
    told = unreached(doctor.on("https://no-such-animal-1.invalid", KEY))
    assert "no-such-animal-1.invalid" in told
    assert "DNS" in told


def test_a_port_where_nothing_listens(doctor: Doctor) -> None:
    assert "refused the connection" in unreached(doctor.on(f"http://127.0.0.1:{free_port()}", KEY))


def test_a_server_that_never_answers(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convex_access, "ANSWER_SECONDS_MAX", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert "did not answer in time" in unreached(doctor.on(url, KEY))


def test_a_server_without_tls(doctor: Doctor) -> None:
    with web_server(deployment_of({})) as url:
        told = unreached(doctor.on(url.replace("http:", "https:"), KEY))
    assert "TLS" in told
    assert "http://" in told


def test_a_certificate_that_nobody_vouches_for(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refusal.verify_message = "self-signed certificate"

    async def ask(*_: object) -> httpx2.Response:
        raise httpx2.ConnectError("no connection") from refusal

    monkeypatch.setattr(convex_access, "_ask", ask)
    told = unreached(doctor.on("https://convex.example", KEY))
    assert "certificate of convex.example is not trusted: self-signed" in told


def test_something_that_is_no_web_server(doctor: Doctor) -> None:
    def talk(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"220 mail.example ESMTP\r\n")

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        thread = threading.Thread(target=talk, args=(listening,))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        told = unreached(doctor.on(url, KEY))
        thread.join()
    assert "does not answer as a web server does" in told


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, "text/html", "<html>"), ["no Convex deployment", "200"]),
        ((200, "application/json", '{"status": "fine"}'), ["no Convex deployment"]),
        ((404, "text/plain", "nothing here"), ["no Convex deployment", "404"]),
        ((308, "text/plain", ""), ["another address", "308"]),
        (
            (400, "application/json", '{"code": "Paused", "message": "This is paused."}'),
            ["400", "Paused", "This is paused."],
        ),
    ],
)
def test_something_that_is_no_convex_deployment(
    answer: Answer, words: list[str], doctor: Doctor
) -> None:
    with web_server(lambda path, body: answer) as url:
        told = unreached(doctor.on(url, KEY))
    assert [word for word in words if word not in told] == []


# --- Every function, without the key


def declared() -> list[tuple[str, str]]:
    """The kind and path of every function that our folder declares."""
    found = []
    for path in sorted(OURS.rglob("*.ts")):
        module = path.relative_to(OURS).with_suffix("").as_posix()
        for name, kind in re.findall(
            r"^export const (\w+) = (?:internal)?(Query|Mutation|Action|query|mutation|action)\(",
            path.read_text(),
            re.MULTILINE,
        ):
            found.append((kind.lower(), f"{module}:{name}"))
    return found


def test_the_walk_meets_every_function() -> None:
    paths = {path for _, path in declared()}
    assert set(load_source().functions) | set(PROTOCOL) <= paths
    assert any(path.startswith("memory/upkeep:") for path in paths)


@pytest.mark.parametrize("where", ["ours", "ours_in_production", "embedded"])
def test_without_the_key_our_functions_are_answered_as_if_they_did_not_exist(
    where: str, request: pytest.FixtureRequest
) -> None:
    running = request.getfixturevalue(where)
    url = running.url if isinstance(running, Bridge) else running
    with httpx2.Client(base_url=url) as client:
        for kind, path in declared():
            module, name = path.split(":")
            for other in (f"{module}:neverThere", "neverThere/atAll:neverThere"):
                for ask in ways(kind):
                    real, unreal = ask(client, path), ask(client, other)
                    assert real == unreal, path
                    assert real[0] == 200
                    assert '"status":"error"' in real[1]
                    told = json.loads(real[1]).get("errorMessage", "")
                    assert name not in told.replace("NAME", "")


Way = Callable[[httpx2.Client, str], tuple[int, str, str]]


def ways(kind: str) -> list[Way]:
    """The ways to call a function of a kind without a key, and answers without names and ids."""

    def comparable(answer: httpx2.Response, path: str) -> tuple[int, str, str]:
        text = re.sub(r"\[Request ID: \w+\]", "[Request ID]", answer.text)
        return answer.status_code, text.replace(path, "NAME"), answer.headers["content-type"]

    def posting(route: str, spelled: Callable[[str], str] = str) -> Way:
        def ask(client: httpx2.Client, path: str) -> tuple[int, str, str]:
            body = {"path": spelled(path), "args": {}, "format": "json"}
            return comparable(client.post(f"/api/{route}", json=body), path)

        return ask

    def batch(client: httpx2.Client, path: str) -> tuple[int, str, str]:
        body = {"queries": [{"path": path, "args": {}}]}
        return comparable(client.post("/api/query_batch", json=body), path)

    def getting(client: httpx2.Client, path: str) -> tuple[int, str, str]:
        return comparable(client.get("/api/query", params={"path": path, "args": "{}"}), path)

    in_javascript = posting(kind, lambda path: path.replace(":", ".js:"))
    others = [posting(each) for each in ("query", "mutation", "action") if each != kind]
    return [posting(kind), in_javascript, *others, *([batch, getting] if kind == "query" else [])]


def test_with_a_wrong_key_no_function_says_more_than_another(ours: Bridge) -> None:
    answers = set()
    with httpx2.Client(base_url=ours.url, headers={"Authorization": "Convex x|y"}) as client:
        for kind, path in [*declared(), ("query", "neverThere:neverThere")]:
            body = {"path": path, "args": {}, "format": "json"}
            for route in (kind, "function"):
                answer = client.post(f"/api/{route}", json=body)
                answers.add((answer.status_code, answer.text))
    [(status, text)] = answers
    assert status == 403
    assert "BadDeployKey" in text
