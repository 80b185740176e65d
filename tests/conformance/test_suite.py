"""The official conformance suite, over the server that everybody gets."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.conformance.installing import HERE, Judges

SUITE_TIMEOUT_S: Final = 240


@dataclass(frozen=True)
class Run:
    """One run of the suite: which release, in which era, and how many scenarios that is."""

    package: str
    era: str
    scenarios: int
    options: tuple[str, ...] = ()


RUNS: Final = {
    "0.1, 2025-11-25": Run("conformance-0.1", "2025-11-25", 30),
    "0.2, 2025-11-25": Run("conformance-0.2", "2025-11-25", 33, ("--requirements", "2025-11-25")),
    "0.2, 2026-07-28": Run("conformance-0.2", "2026-07-28", 50, ("--requirements", "2026-07-28")),
}


Outcomes = Mapping[str, "Future[subprocess.CompletedProcess[str]]"]


def expected_failures(run: Run) -> Path:
    return HERE / f"expected_failures_{run.era}.yml"


@pytest.fixture(scope="module")
def started(outside: Judges, server_url: str) -> Iterator[Outcomes]:
    """Every run, begun at once: most of what they do is wait."""

    def judge(run: Run) -> subprocess.CompletedProcess[str]:
        return outside.run(
            outside.packages / run.package / "dist" / "index.js",
            *("server", "--url", server_url, *run.options),
            *("--expected-failures", str(expected_failures(run))),
            timeout_s=SUITE_TIMEOUT_S,
        )

    with ThreadPoolExecutor(len(RUNS)) as pool:
        yield {name: pool.submit(judge, run) for name, run in RUNS.items()}


@pytest.mark.parametrize("name", RUNS)
def test_only_what_is_expected_to_fail_fails(name: str, started: Outcomes) -> None:
    run, done = RUNS[name], started[name].result()
    _, _, summary = done.stdout.partition("=== SUMMARY ===")
    assert done.returncode == 0, summary or done.stdout + done.stderr
    outcomes = re.findall(r"^([✓✗]) ([a-z0-9-]+): ", summary, re.MULTILINE)
    assert len(outcomes) == run.scenarios, summary
    # What a requirement set does not score fails no run of the suite; it fails ours.
    failed = {scenario for outcome, scenario in outcomes if outcome == "✗"}
    text = expected_failures(run).read_text(encoding="utf-8")
    named = re.findall(r"^  - ([a-z0-9-]+)$", text, re.MULTILINE)
    assert failed <= set(named), summary
