"""The embedded deployment: every function in this process, over one SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from convex_memory.deployment import NATIVE_VECTOR_ACTION, Kind
from convex_memory.embedded.observed import observed
from convex_memory.errors import (
    DeploymentTimeout,
    FunctionError,
    FunctionNotDeployed,
    LimitExceeded,
)
from convex_memory.limits import ARGUMENTS_BYTES_MAX
from convex_memory.values import Value, check, plain

if TYPE_CHECKING:
    from convex_memory.embedded.documents import Documents
    from convex_memory.embedded.engine import Engine
    from convex_memory.embedded.functions.function import Function
    from convex_memory.embedded.observed import Observe

DATABASE_NAME: Final = "memory.db"
ADMIN_KEY_NAME: Final = "admin.key"


class EmbeddedDeployment:
    """A `Deployment` in one folder. Nothing is opened before the first call.

    Several processes may have the same folder open, and several event loops one deployment.

    Args:
        folder: Where the database lives; made when missing. A local disk, not a network share.
        now_ms: The clock, in milliseconds since the epoch.
        observe: Told of every function that ran, in the context of its caller.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        now_ms: Callable[[], float] | None = None,
        observe: Observe | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._now_ms = now_ms
        self._observe = observe
        self._engine: Engine | None = None
        self._functions: Mapping[str, Function] = {}
        self._expire: Callable[[Documents], None]

    def __repr__(self) -> str:
        return f"EmbeddedDeployment({str(self.folder)!r})"

    async def __aenter__(self) -> EmbeddedDeployment:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def kind_of(self, path: str) -> Kind | None:
        """Return what the function at `path` must be called as, or None if there is none."""
        self._load()
        function = self._functions.get(_canonical(path))
        return None if function is None else function.kind

    async def call(
        self,
        kind: Kind,
        path: str,
        args: Mapping[str, Value],
        *,
        timeout_ms: int | None = None,
        retry: bool | None = None,
    ) -> Value:
        """Run one function (see `Deployment.call`). `retry` has nothing to do here."""
        engine = self._load()
        name = _canonical(path)
        function = self._functions.get(name)
        if function is None:
            raise FunctionNotDeployed(f"Could not find function for '{path}'.")
        if function.kind != kind:
            raise FunctionError(f"{path} is a {function.kind} and was called as a {kind}.")
        admitted = _admitted(name, args)

        def work(documents: Documents) -> Value:
            self._expire(documents)
            return function.handler(documents, admitted)

        reads = function.reads(admitted)
        try:
            with observed(work, self._observe, writes=not reads) as work:
                async with asyncio.timeout(timeout_ms / 1000 if timeout_ms else None):
                    if reads:
                        return await _answer(engine.read(work, small=function.small(admitted)))
                    return await _answer(engine.write(work))
        except TimeoutError as error:
            raise DeploymentTimeout(
                f"{path} gave no answer in {timeout_ms} ms. A write may still have happened."
            ) from error

    async def aclose(self) -> None:
        """Finish what is queued and close the file. Idempotent."""
        if self._engine is not None:
            await self._engine.aclose()

    def _load(self) -> Engine:
        # Imported on first use: a server answers `tools/list` before it needs any of this.
        if self._engine is None:
            from convex_memory.embedded.engine import Engine
            from convex_memory.embedded.functions import FUNCTIONS
            from convex_memory.embedded.functions.memory.forgetting import expire
            from convex_memory.embedded.functions.memory.threads import continue_removals

            self._functions = FUNCTIONS
            self._expire = expire
            self._engine = Engine(
                self.folder / DATABASE_NAME, now_ms=self._now_ms, when_idle=continue_removals
            )
        return self._engine


async def _answer(running: Any) -> Value:
    from convex_memory.embedded.functions.function import SoftRefusal

    try:
        value: Value = await running
    except SoftRefusal as refusal:
        return {"ok": False, "error": refusal.text}
    return value


def _canonical(path: str) -> str:
    """Both `a/b.js:f` and `a/b:f` name the function `f` of module `a/b`."""
    module, separator, name = path.partition(":")
    return f"{module.removesuffix('.js')}:{name if separator else 'default'}"


def _admitted(path: str, args: Mapping[str, Value]) -> Mapping[str, Any]:
    """Check the arguments as Convex would before it runs a function."""
    if path == NATIVE_VECTOR_ACTION and isinstance(args.get("filter"), Mapping):
        # Mastra's adapter sends `$or`, a name that hosted Convex refuses; here it may pass.
        given: Any = args["filter"]
        if "$or" in given:
            renamed = {("or" if name == "$or" else name): each for name, each in given.items()}
            args = {**args, "filter": renamed}
    size = check(args)
    if size > ARGUMENTS_BYTES_MAX:
        raise LimitExceeded(
            f"Arguments for {path} are too large (actual: {size / 2**20:.1f} MiB, limit: "
            f"{ARGUMENTS_BYTES_MAX / 2**20:.0f} MiB). Send less at a time."
        )
    return {name: plain(value) for name, value in args.items()}
