"""The command `convex-memory`: finds the application that travels with the library, and runs it."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Run the command and return its exit status."""
    here = Path(__file__).resolve().parent
    application = here / "_app"
    if not application.is_dir():
        application = here.parent
        from convex_memory.checkout import enter_environment

        enter_environment(application)
    # First on the path: another distribution may have left a `tools` or `server` behind.
    sys.path.insert(0, str(application))
    from server.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
