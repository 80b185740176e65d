"""An installed copy needs no network; `make offline` shows it with every dependency installed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.installing import unpacked
from tests.packaging.offline import NoNamespace, namespace_command, work_offline


def test_texts_are_embedded_without_a_network_at_an_empty_home(wheel: Path, tmp_path: Path) -> None:
    python = unpacked(wheel, tmp_path / "environment")
    told = work_offline(python, tmp_path / "home")
    assert told.startswith("minilm-l6-v2-int8-8199be6f/mean-254: similar texts 0.")


def test_a_system_without_namespaces_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "unshare failed: not permitted")

    monkeypatch.setattr(subprocess, "run", refusing)
    with pytest.raises(NoNamespace, match=r"not permitted.*Run as root, or allow user namespaces"):
        namespace_command()
