"""The command `convex-memory`: finds the application that travels with the library, and runs it."""

from __future__ import annotations

import os
import sys

_PYTHON_MINIMUM = (3, 11)


def main() -> int:
    """Run the command and return its exit status."""
    here = os.path.dirname(os.path.realpath(__file__))
    application = os.path.join(here, "_app")
    is_checkout = not os.path.isdir(application)
    if is_checkout:
        application = os.path.dirname(here)
    # First on the path: another distribution may have left a `tools` or `server` behind.
    sys.path.insert(0, application)
    serves_stdio = len(sys.argv) == 1 and sys.version_info >= _PYTHON_MINIMUM
    if is_checkout:
        # Whoever serves already needs nothing of what may not be installed here.
        status = _through_the_daemon(may_start=False) if serves_stdio else None
        if status is not None:
            return status
        from pathlib import Path

        from convex_memory.checkout import enter_environment

        enter_environment(Path(application))
    status = _through_the_daemon(may_start=True) if serves_stdio else None
    if status is not None:
        return status
    from server.cli import main as run

    return run()


def _through_the_daemon(*, may_start: bool) -> int | None:
    """Have the folder's daemon serve stdin and stdout; None when this process has to."""
    from server.daemon.shim import run

    return run(may_start=may_start)


if __name__ == "__main__":
    sys.exit(main())
