"""What `docs/deploy/` says is what works: its commands are run, its files read."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from convex_memory.embedded.listener import CLOSE_SECONDS_MAX, DRAIN_SECONDS_MAX
from server.settings import VARIABLES
from tests.packaging.installing import ROOT, unpacked

DEPLOY = ROOT / "docs" / "deploy"
START_SECONDS_MAX = 60
STOP_SECONDS = DRAIN_SECONDS_MAX + CLOSE_SECONDS_MAX


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Dockerfile, with what follows it."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    pairs = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(name, rest.strip()) for name, _, rest in pairs]


def last(name: str) -> str:
    return [rest for each, rest in instructions() if each == name][-1]


def test_the_image_runs_what_it_says_as_somebody_harmless(wheel: Path, tmp_path: Path) -> None:
    """The last stage of the Dockerfile, in an environment of its own instead of an image."""
    python = unpacked(wheel, tmp_path / "environment")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    given = dict(pair.split("=", 1) for pair in shlex.split(last("ENV")))
    data = tmp_path / "data"
    tokens = tmp_path / "tokens"
    tokens.write_text("ada=a-token-for-the-image-1234\n")
    tokens.chmod(0o600)
    environment = {
        "PYTHONDONTWRITEBYTECODE": given["PYTHONDONTWRITEBYTECODE"],
        "MEMORY_LOG_LEVEL": given["MEMORY_LOG_LEVEL"],
        "MEMORY_DATA_DIR": str(data),
        "MEMORY_HTTP_TOKENS": str(tokens),
        "MEMORY_HTTP_HOSTS": "memory.example.com",
        "PATH": os.environ["PATH"],
    }
    assert given["MEMORY_DATA_DIR"] == last("VOLUME") == "/data"
    [entry] = json.loads(last("ENTRYPOINT"))
    assert entry == "convex-memory"
    arguments = [port if each == "8000" else each for each in json.loads(last("CMD"))]
    process = subprocess.Popen(
        [str(python), "-m", "convex_memory", *arguments],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        check = json.loads(last("HEALTHCHECK").partition("CMD")[2])
        check = [sys.executable, *(each.replace("8000", port) for each in check[1:])]
        until = time.monotonic() + START_SECONDS_MAX
        while (
            subprocess.run(check, capture_output=True, check=False).returncode
            and time.monotonic() < until
        ):
            assert process.poll() is None
        assert subprocess.run(check, capture_output=True, check=False).returncode == 0
        process.terminate()
        assert process.wait(STOP_SECONDS + 5) == 0
    finally:
        process.kill()
        process.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "environment", "tokens"]
    assert list(data.iterdir())
    names = [name for name, _ in instructions()]
    assert names.index("USER") > max(n for n, name in enumerate(names) if name == "RUN")
    assert last("USER") not in ("root", "0")
    assert last("STOPSIGNAL") == "SIGTERM"


def test_the_build_gets_the_whole_package_and_nothing_else() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    built = {"pyproject.toml", "README.md", "LICENSE", "convex_memory", "server", "tools", "convex"}
    assert ignored[0] == "*"
    assert let_in == built
    assert all((ROOT / name).exists() for name in built)
    for folder in re.findall(r'^"(\w+)" = "convex_memory/', project, re.MULTILINE):
        assert folder in let_in


def settings_in(environment: dict[str, Any] | list[str]) -> set[str]:
    return {name for name in environment if name.startswith(("MEMORY_", "CONVEX_", "OTEL_"))}


def test_compose_starts_a_locked_service_and_a_convex_beside_it() -> None:
    stack = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    memory, convex = stack["services"]["memory"], stack["services"]["convex"]
    build = memory["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert memory["read_only"] is True
    assert memory["cap_drop"] == ["ALL"]
    assert memory["security_opt"] == ["no-new-privileges:true"]
    assert int(memory["stop_grace_period"].removesuffix("s")) > STOP_SECONDS
    assert settings_in(memory["environment"]) <= set(VARIABLES)
    assert memory["environment"]["MEMORY_HTTP_TOKENS"] == "/run/secrets/tokens"
    assert set(memory["secrets"]) == set(stack["secrets"])
    mounted = {volume.split(":")[0] for each in (memory, convex) for volume in each["volumes"]}
    assert mounted == set(stack["volumes"])
    assert "memory:/data" in memory["volumes"]
    for service in (memory, convex):
        # Nothing is open to other machines that a proxy does not open.
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert convex["profiles"] == ["convex"]


def test_the_unit_is_locked_and_starts_what_is_installed() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    text = (DEPLOY / "convex-memory.service").read_text(encoding="utf-8")
    unit.read_string(text)
    service = unit["Service"]
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "DynamicUser"):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert int(service["TimeoutStopSec"]) > STOP_SECONDS
    command, verb, *_ = service["ExecStart"].split()
    assert (command, verb) == ("/opt/convex-memory/bin/convex-memory", "serve")
    assert f"MEMORY_DATA_DIR=/var/lib/{service['StateDirectory']}" in text
    assert settings_in(re.findall(r"^Environment=(\w+)", text, re.MULTILINE)) <= set(VARIABLES)
    assert "/opt/convex-memory" in (DEPLOY / "README.md").read_text(encoding="utf-8")
