"""Many processes that open one new folder at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROCESSES = 6
ROUNDS = 4

COUNT = """
import asyncio, sys
from convex_memory.embedded import EmbeddedDeployment

async def main():
    async with EmbeddedDeployment(sys.argv[1]) as deployment:
        deployment._load()
        print("ready", flush=True)
        sys.stdin.readline()
        request = {"op": "increment", "key": "n", "keyPrefix": "", "expiresAt": None}
        answer = await deployment.call("mutation", "mastra/cache:handle", request)
        print(int(answer["result"]))

asyncio.run(main())
"""


def test_each_of_them_opens_it_and_counts(tmp_path: Path) -> None:
    for number in range(ROUNDS):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", COUNT, str(tmp_path / str(number))],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(PROCESSES)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        told = [process.communicate(timeout=60) for process in processes]
        assert [error for _, error in told] == [""] * PROCESSES
        assert sorted(int(count) for count, _ in told) == list(range(1, PROCESSES + 1))
