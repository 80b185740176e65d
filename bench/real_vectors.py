"""Real text as vectors: the sentences found on this machine, embedded by a static table.

    PYTHON bench/real_vectors.py FILE.npy [--rows 1000000] [--roots FOLDER …]

`PYTHON` has numpy, tokenizers and wordllama (`pip install numpy tokenizers wordllama`), whose
wheel holds the table: 256 dimensions. Nothing is downloaded, no text leaves the file it is in.
Sentences come from documentation and from the comments and docstrings of source code, each once;
FILE.npy gets unit vectors in float32, the rows in random order, and takes some minutes.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

DIMENSION: Final = 256
_PROSE: Final = (".md", ".rst", ".txt", ".mdx", ".adoc", ".html", ".pod")
_CODE: Final = (
    ".py", ".pyi", ".ts", ".mts", ".cts", ".js", ".mjs", ".cjs", ".c", ".h", ".hpp", ".rs", ".go",
    ".pl", ".pm", ".rb", ".sh", ".json",
)  # fmt: skip
_FILE_BYTES_MAX: Final = 2_000_000
_TOKENS_MAX: Final = 256
_BATCH: Final = 4096
_COMMENT = re.compile(
    r'"""(.*?)"""|\'\'\'(.*?)\'\'\'|/\*(.*?)\*/|((?:^[ \t]*(?:#|//)[^\n]*\n)+)|"([^"\n]{60,})"',
    re.DOTALL | re.MULTILINE,
)
_MARKS = re.compile(r"^[ \t]*(?:#+|//+|\*+|[-+>|]+)[ \t]?|<[^>\n]*>", re.MULTILINE)
_ENDS = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z`\"'(])|\n\s*\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000, help="(default 1000000)")
    parser.add_argument(
        "--roots", type=Path, nargs="+", default=[Path(sys.base_prefix), Path("/usr"), Path("/opt")]
    )
    asked = parser.parse_args()
    began = time.perf_counter()
    texts = list(first(distinct(sentences(asked.roots)), asked.rows))
    print(f"{len(texts):,} texts in {time.perf_counter() - began:.0f} s", flush=True)
    vectors = embedded(texts)
    order = np.random.default_rng(1).permutation(len(vectors))
    asked.file.parent.mkdir(parents=True, exist_ok=True)
    np.save(asked.file, vectors[order])
    print(f"{len(vectors):,} x {DIMENSION} in {time.perf_counter() - began:.0f} s", flush=True)
    return 0


def sentences(roots: Iterable[Path]) -> Iterator[str]:
    """Yield the sentences of documentation, and those in source code, file by file."""
    for root in roots:
        for path in sorted(root.rglob("*")):
            prose, code = path.suffix in _PROSE, path.suffix in _CODE
            if not (prose or code) or path.is_symlink() or not path.is_file():
                continue
            if path.stat().st_size > _FILE_BYTES_MAX:
                continue
            try:
                text = path.read_text()
            except (OSError, UnicodeDecodeError):
                continue
            parts = [text] if prose else ["".join(filter(None, f)) for f in _COMMENT.findall(text)]
            for part in parts:
                for sentence in _ENDS.split(_MARKS.sub("", part)):
                    words = sentence.split()
                    if 6 <= len(words) <= 200 and 30 <= len(" ".join(words)) <= 2000:
                        yield " ".join(words)


def distinct(texts: Iterable[str]) -> Iterator[str]:
    """Yield each text once, those that differ in case, digits and marks only counting as one."""
    seen: set[bytes] = set()
    for text in texts:
        letters = "".join(filter(str.isalpha, text.lower()))
        # Mostly letters: tables, paths and dumps are no sentences.
        if len(letters) * 3 < len(text) * 2:
            continue
        key = blake2b(letters.encode(), digest_size=8).digest()
        if key not in seen:
            seen.add(key)
            yield text


def first(texts: Iterable[str], count: int) -> Iterator[str]:
    """Yield the first so many texts."""
    for at, text in enumerate(texts):
        if at == count:
            return
        yield text


def embedded(texts: list[str]) -> Floats:
    """Return unit vectors of those texts that have one."""
    table, tokenizer = _wordllama()
    found: list[Floats] = []
    for start in range(0, len(texts), _BATCH):
        rows = [each.ids for each in tokenizer.encode_batch(texts[start : start + _BATCH])]
        sums = np.stack([table[ids[:_TOKENS_MAX]].mean(axis=0) for ids in rows if ids])
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        found.append((sums / np.maximum(norms, 1e-9))[norms[:, 0] > 1e-6])
    return np.concatenate(found)


def _wordllama() -> tuple[Floats, Any]:
    spec = importlib.util.find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install numpy tokenizers wordllama")
    folder = Path(spec.origin).parent
    # Its own loader looks elsewhere for the tokenizer and then asks the network.
    named = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
    tokenizer = importlib.import_module("tokenizers").Tokenizer.from_file(str(named))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    raw = (folder / "weights" / f"l2_supercat_{DIMENSION}.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    head = json.loads(raw[8 : 8 + length])
    (tensor,) = (value for name, value in head.items() if name != "__metadata__")
    kind = {"F16": np.float16, "F32": np.float32}[tensor["dtype"]]
    begin, end = tensor["data_offsets"]
    table = np.frombuffer(raw[8 + length + begin : 8 + length + end], dtype=kind)
    return table.reshape(tensor["shape"]).astype(np.float32), tokenizer


if __name__ == "__main__":
    sys.exit(main())
