"""The daemon's process: becomes the one daemon of its folder, then loads what is heavy.

It listens before it loads, so that hosts find it at once and wait for its answer.
"""

from __future__ import annotations

import json
import os

from server.daemon.build import Build
from server.daemon.folder import Folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def main(arguments: str) -> None:
    """Run as the process that `starting.start_daemon` starts.

    Args:
        arguments: JSON: `data_dir`, `loopback`, and the descriptor that holds the lock, or null.
    """
    told = json.loads(arguments)
    lock = told["lock"]
    if lock is not None:
        if os.fork():
            # Who started this process waits for it, and for nothing of what comes now.
            os._exit(0)
        os.set_inheritable(lock, False)
    run(Folder(told["data_dir"], loopback=told["loopback"]), lock)


def run(
    folder: Folder,
    lock: int | None = None,
    *,
    stays: bool = False,
    on_listening: Callable[[], None] = lambda: None,
) -> bool:
    """Be the daemon of a folder, until it is time to leave.

    Args:
        folder: Where to listen.
        lock: The descriptor that holds the folder's lock; taken when left out.
        stays: Stay while nobody uses it.
        on_listening: Called when hosts can connect.

    Returns:
        False when another process is the daemon.

    Raises:
        Unavailable: There can be none in this folder.
    """
    build = Build.here()
    folder.prepare()
    if lock is None:
        lock = folder.lock()
    if lock is None:
        return False
    listener, token = folder.listen()
    on_listening()

    import anyio

    from server.daemon.serving import Daemon

    async def serve() -> None:
        await Daemon(folder, build, lock, listener, token, stays=stays).run()

    anyio.run(serve)
    return True
