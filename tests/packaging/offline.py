"""Proof that an installed copy works without any network, with an empty home.

`python -m tests.packaging.offline`, which `make offline` runs, builds the wheel and has pip
install it and its dependencies into a new environment. Then, in a network namespace that has no
route, with a home folder that holds nothing, that environment runs `offline_work.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.packaging.installing import built, installed

WORK = Path(__file__).with_name("offline_work.py")


class NoNamespace(Exception):
    """This system does not let this user make a network namespace, so nothing can be shown."""


def namespace_command() -> list[str]:
    """The command that runs another one in a network namespace without a route.

    Raises:
        NoNamespace: There is none; the message says why and what would help.
    """
    refusals = []
    for command in (["unshare", "-rn"], ["unshare", "-n"]):
        try:
            tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise NoNamespace("unshare (util-linux) is not here: run this on Linux.") from None
        if tried.returncode == 0:
            return command
        refusals.append(f"{' '.join(command)}: {tried.stderr.strip()}")
    raise NoNamespace(
        f"A network namespace cannot be made here ({'; '.join(refusals)}). Run as root, or allow "
        "user namespaces (kernel.unprivileged_userns_clone, "
        "kernel.apparmor_restrict_unprivileged_userns)."
    )


def work_offline(python: Path, home: Path) -> str:
    """Run the work in a namespace without a route, at an empty home; return what it printed."""
    home.mkdir()
    finished = subprocess.run(
        # -I: neither this checkout nor a user's packages can be imported.
        [*namespace_command(), str(python), "-I", str(WORK)],
        cwd=home,
        env={"HOME": str(home), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        raise AssertionError(f"{finished.stdout}\n{finished.stderr}")
    left = sorted(path.name for path in home.rglob("*"))
    if left:
        raise AssertionError(f"something was written to the home folder: {left}")
    return finished.stdout


def main() -> int:
    """Build, install, prove."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            namespace_command()
            print("installing into a new environment …", flush=True)
            python = installed(built(folder / "wheel"), folder / "environment")
            print(work_offline(python, folder / "home"), end="")
        except (NoNamespace, AssertionError) as error:
            print(f"FAILED: {error}", file=sys.stderr)
            return 1
    print("works without network, from an installed wheel, with an empty home")
    return 0


if __name__ == "__main__":
    sys.exit(main())
