"""Other searches over the same turns, for `bench.recall`: installed outside the checkout.

- bm25s: BM25 in Python, English stop words, stemmed; in a process and an environment of its own.
- server-memory: `@modelcontextprotocol/server-memory`, the reference MCP server, over stdio. Each
  turn is an entity. It looks for the text it is given, so a question as a whole is found nowhere;
  it is asked for the longest telling word of the question, as an assistant that knew would ask.
- basic-memory: its MCP server over stdio, full-text search (the semantic one needs a download).
  Each turn is a note.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = {"bm25s": ("bm25s", "PyStemmer"), "basic-memory": ("basic-memory",)}
NPM_PACKAGE: Final = "@modelcontextprotocol/server-memory"
_MADE_AT_ONCE: Final = 200

Search = Callable[[str, int], Sequence[str]]
"""A question and how many → places of turns, best first."""
Turns = Sequence[tuple[str, str]]
"""Places and texts."""


def installed(folder: Path, python: str = sys.executable) -> dict[str, Path]:
    """Install the peers into a folder where they are not yet; return where each is."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    for name, packages in PACKAGES.items():
        environment = folder / name
        if not (environment / "done").exists():
            shutil.rmtree(environment, ignore_errors=True)
            try:
                _run(python, "-m", "venv", environment)
                _run(environment / "bin" / "python", "-m", "pip", "install", "-q", *packages)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"{name} could not be installed, and is not compared: {error}")
                continue
            (environment / "done").touch()
        found[name] = environment / "bin"
    server = folder / "node_modules" / NPM_PACKAGE / "dist" / "index.js"
    if not server.exists():
        try:
            _run("npm", "install", "--silent", "--prefix", folder, NPM_PACKAGE)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"server-memory could not be installed, and is not compared: {error}")
    if server.exists():
        found["server-memory"] = server
    return found


def _run(*command: object) -> None:
    subprocess.run([str(each) for each in command], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def bm25s(python: Path, turns: Turns) -> Iterator[Search]:
    """Index turns with bm25s in its own environment."""
    command = [str(python / "python"), str(Path(__file__).resolve()), "bm25s"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        sent, answers = process.stdin, process.stdout

        def ask(value: object) -> Any:
            sent.write(json.dumps(value) + "\n")
            sent.flush()
            return json.loads(answers.readline())

        ask([text for _, text in turns])
        yield lambda question, limit: [turns[at][0] for at in ask([question, limit])]
        sent.close()


@contextmanager
def server_memory(script: Path, turns: Turns) -> Iterator[Search]:
    """Save turns as entities of the reference server."""
    from bench.stdio_client import HANDSHAKE, StdioClient
    from convex_memory.search_words import telling_words

    with tempfile.TemporaryDirectory() as folder:
        path = f"MEMORY_FILE_PATH={folder}/memory.jsonl"
        client = StdioClient(["env", path, "node", str(script)], HANDSHAKE, Path(folder))
        try:
            client.open()
            for at in range(0, len(turns), _MADE_AT_ONCE):
                entities = [
                    {"name": place, "entityType": "turn", "observations": [text]}
                    for place, text in turns[at : at + _MADE_AT_ONCE]
                ]
                client.call_tool("create_entities", {"entities": entities})

            def search(question: str, limit: int) -> list[str]:
                word = max(telling_words(question), key=len)
                answer = _called(client, "search_nodes", query=word)
                return [each["name"] for each in json.loads(answer)["entities"]][:limit]

            yield search
        finally:
            client.end()


@contextmanager
def basic_memory(programs: Path, turns: Turns) -> Iterator[Search]:
    """Write turns as notes of basic-memory, and have it index them."""
    from bench.stdio_client import HANDSHAKE, StdioClient

    with tempfile.TemporaryDirectory() as home:
        notes = Path(home) / "basic-memory"
        notes.mkdir()
        for place, text in turns:
            name = place.replace(":", "-")
            (notes / f"{name}.md").write_text(f"---\ntitle: {name}\n---\n\n{text}\n", "utf-8")
        settings = (f"HOME={home}", "BASIC_MEMORY_SEMANTIC_SEARCH_ENABLED=false")
        program = ["env", *settings, str(programs / "basic-memory")]
        subprocess.run([*program, "reindex"], check=True, capture_output=True, cwd=home)
        client = StdioClient([*program, "mcp"], HANDSHAKE, Path(home))
        try:
            client.open()

            def search(question: str, limit: int) -> list[str]:
                answer = _called(
                    client, "search_notes", query=question, page_size=limit, search_type="text",
                    output_format="json",
                )  # fmt: skip
                titles = re.findall(r'"title":\s*"(D\d+-\d+)"', answer)
                return [each.replace("-", ":") for each in dict.fromkeys(titles)]

            yield search
        finally:
            client.end()


def _called(client: Any, tool: str, **arguments: Any) -> str:
    result: Mapping[str, Any] = client.request(
        "tools/call", {"name": tool, "arguments": arguments}
    )[0]
    return str(result["content"][0]["text"])


PEERS: Final[Mapping[str, Callable[..., Any]]] = {
    "bm25s": bm25s,
    "server-memory": server_memory,
    "basic-memory": basic_memory,
}


def timed(search: Search, question: str, limit: int) -> tuple[Sequence[str], float]:
    """Search, and say how many seconds it took."""
    began = time.perf_counter()
    found = search(question, limit)
    return found, time.perf_counter() - began


def _serve_bm25s() -> None:
    """Answer on stdin and stdout; runs under an interpreter that has bm25s."""
    import importlib

    library, stemmer = importlib.import_module("bm25s"), importlib.import_module("Stemmer")
    stem = stemmer.Stemmer("english")

    def words(texts: list[str]) -> Any:
        return library.tokenize(texts, stopwords="en", stemmer=stem, show_progress=False)

    texts = json.loads(sys.stdin.readline())
    index = library.BM25()
    index.index(words(texts), show_progress=False)
    print("null", flush=True)
    for line in sys.stdin:
        question, limit = json.loads(line)
        found, scores = index.retrieve(
            words([question]), k=min(limit, len(texts)), show_progress=False
        )
        held = zip(found[0].tolist(), scores[0].tolist(), strict=True)
        print(json.dumps([at for at, score in held if score > 0]), flush=True)


if __name__ == "__main__":
    _serve_bm25s()
