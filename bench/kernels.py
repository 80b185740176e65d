"""The int8 kernels that could scan codes: simsimd, numkong where it is installed, numpy."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution
from statistics import median
from typing import Any, Final

import numpy as np

from bench.install_size import MEGABYTE, size_of
from bench.report import Report, positive
from convex_memory.embedded.vector_index.kernel import Codes, dots_by_numpy, dots_by_simsimd
from convex_memory.embedded.vector_index.scoring import Floats

Dots = Callable[[Codes, Codes, Floats], None]
_BLOCK: Final = 8192


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=positive, default=100_000, help="(default 100000)")
    parser.add_argument(
        "--dimensions", type=positive, nargs="+", default=[384, 1536], help="(default 384 1536)"
    )
    parser.add_argument("--rounds", type=positive, default=40, help="of each (default 40)")
    asked = parser.parse_args()
    report = Report("kernels", asked)
    kernels: dict[str, Dots] = {"simsimd": dots_by_simsimd}
    try:
        importlib.import_module("numkong")
        kernels["numkong"] = dots_by_numkong
    except ImportError:
        print("numkong is not installed, and is not compared")
    kernels["numpy"] = dots_by_numpy
    for dimension in asked.dimensions:
        compare(report, asked, dimension, kernels)
    report.table(
        "installed",
        ("package", "version", "MB"),
        [(name, *_installed(name)) for name in ("simsimd", "numkong", "numpy")],
    )
    return report.finish()


def dots_by_numkong(codes: Codes, query: Codes, out: Floats) -> None:
    """`kernel.dots` by numkong."""
    numkong: Any = importlib.import_module("numkong")
    row = query.reshape(1, -1)
    for start in range(0, len(codes), _BLOCK):
        rows = codes[start : start + _BLOCK]
        found = numkong.cdist(row, rows, metric="dot")
        out[start : start + len(rows)] = np.asarray(found).reshape(-1)


def compare(
    report: Report, asked: argparse.Namespace, dimension: int, kernels: dict[str, Dots]
) -> None:
    random = np.random.default_rng(1)
    codes = random.integers(-127, 128, (asked.rows, dimension), dtype=np.int8)
    queries = random.integers(-127, 128, (asked.rounds, dimension), dtype=np.int8)
    out = np.empty(asked.rows, dtype=np.float32)
    half = asked.rows // 2
    times: dict[str, list[float]] = {}
    right: dict[str, bool] = {}
    with ThreadPoolExecutor(2) as pool:
        for query in queries:
            wanted = (codes[:1000].astype(np.int64) @ query.astype(np.int64)).astype(np.float32)
            for name, dots in kernels.items():
                began = time.perf_counter()
                dots(codes, query, out)
                times.setdefault(name, []).append((time.perf_counter() - began) * 1000)
                right[name] = right.get(name, True) and bool(np.array_equal(out[:1000], wanted))
                began = time.perf_counter()
                parts = [slice(0, half), slice(half, asked.rows)]
                run = [pool.submit(dots, codes[part], query, out[part]) for part in parts]
                for each in run:
                    each.result()
                both = f"{name}, two threads"
                times.setdefault(both, []).append((time.perf_counter() - began) * 1000)
                right[both] = right[name]
    base = median(times["simsimd"])
    report.table(
        f"one query with {asked.rows:,} rows of {dimension} int8",
        ("", "ms p50", "ms min", "x simsimd", "exact"),
        [
            (name, median(ms), min(ms), median(ms) / base, str(right[name]))
            for name, ms in times.items()
        ],
    )


def _installed(name: str) -> tuple[str, float | str]:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return "not installed", ""
    return found.version, size_of(found) / MEGABYTE


if __name__ == "__main__":
    sys.exit(main())
