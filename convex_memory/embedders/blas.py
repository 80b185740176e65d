"""BLAS held to one thread while a model computes.

The matrices of a small model are too small to be shared out: on two cores with other work, two
threads of OpenBLAS took up to four times as long as one, waiting for each other. Batches that
run side by side, each on one thread, use more cores better.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController


class OneThread:
    """Sets the limit of the process when the first computation begins, and lifts it after the last.

    The number of threads is a property of the whole process: computations that overlap must not
    each restore what they found. A limit that the program itself keeps is left alone.
    """

    def __init__(self) -> None:
        self._controller: Any = ThreadpoolController()
        # threadpoolctl lets only the thread that set a limit of OpenBLAS change it again.
        self._setter = ThreadPoolExecutor(1, thread_name_prefix="blas-limit")
        self._lock = threading.Lock()
        self._computing = 0
        self._limit: Any = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold every BLAS that is loaded to one thread during the block."""
        with self._lock:
            if self._computing == 0:
                self._limit = self._setter.submit(self._begin).result()
            self._computing += 1
        try:
            yield
        finally:
            with self._lock:
                self._computing -= 1
                if self._computing == 0:
                    self._setter.submit(self._limit.__exit__, None, None, None).result()

    def _begin(self) -> Any:
        return self._controller.limit(limits=1, user_api="blas").__enter__()
