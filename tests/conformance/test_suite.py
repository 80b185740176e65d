"""The official conformance suite, over the server that everybody gets."""

from __future__ import annotations

import re
from dataclasses import dataclass
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


@pytest.mark.parametrize("name", RUNS)
def test_only_what_is_expected_to_fail_fails(name: str, outside: Judges, server_url: str) -> None:
    run = RUNS[name]
    expected = HERE / f"expected_failures_{run.era}.yml"
    done = outside.run(
        outside.packages / run.package / "dist" / "index.js",
        *("server", "--url", server_url, "--expected-failures", str(expected), *run.options),
        timeout_s=SUITE_TIMEOUT_S,
    )
    _, _, summary = done.stdout.partition("=== SUMMARY ===")
    assert done.returncode == 0, summary or done.stdout + done.stderr
    outcomes = re.findall(r"^([✓✗]) ([a-z0-9-]+): ", summary, re.MULTILINE)
    assert len(outcomes) == run.scenarios, summary
    # What a requirement set does not score fails no run of the suite; it fails ours.
    failed = {scenario for outcome, scenario in outcomes if outcome == "✗"}
    named = re.findall(r"^  - ([a-z0-9-]+)$", expected.read_text(encoding="utf-8"), re.MULTILINE)
    assert failed <= set(named), summary
