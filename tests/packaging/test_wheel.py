"""The wheel: what it holds, and that it starts from another directory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

from tests.packaging.installing import unpacked

ROOT = Path(__file__).parents[2]


def test_the_wheel_has_one_top_level_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"convex_memory"}
    for needed in (
        "convex_memory/py.typed",
        "convex_memory/embedders/bert_uncased_vocabulary.txt",
        "convex_memory/embedders/NOTICE",
        "convex_memory/_app/server/cli.py",
        "convex_memory/_app/tools/memory/__init__.py",
        "convex_memory/_functions/README.md",
    ):
        assert needed in names
    assert not [name for name in names if "node_modules" in name or "__pycache__" in name]
    assert not [
        name
        for name in names
        if name.startswith("convex_memory/_functions/") and name.endswith(".py")
    ]


def test_an_installed_copy_starts_anywhere(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    python = unpacked(wheel, environment)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "tools.py").write_text("raise SystemExit('tools of somebody else')")
    request = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "0"},
        },
    }
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    with subprocess.Popen(
        [
            str(python),
            "-c",
            "import sys; from convex_memory.__main__ import main; sys.exit(main())",
        ],
        cwd=elsewhere,
        env={
            "MEMORY_DATA_DIR": str(tmp_path / "data"),
            "MEMORY_DAEMON_IDLE_MS": "0",
            "PATH": os.defpath,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for message in (
            request,
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            listing,
        ):
            server.stdin.write(json.dumps(message) + "\n")
        server.stdin.flush()
        answers = [json.loads(server.stdout.readline()) for _ in range(2)]
        server.stdin.close()
        assert server.wait(timeout=30) == 0
    assert answers[0]["result"]["serverInfo"]["name"] == "convex-memory"
    assert len(answers[1]["result"]["tools"]) == 28


def test_a_checkout_looks_for_every_package_it_depends_on() -> None:
    from convex_memory.checkout import NEEDED, is_complete

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {re.split(r"[\[<>=]", dependency)[0] for dependency in project["dependencies"]}
    otherwise = {"pyjwt": "jwt", "opentelemetry-api": "opentelemetry.trace"}
    assert set(NEEDED) == {otherwise.get(name, name).replace("-", "_") for name in named}
    assert is_complete()
