"""The embedder behind OpenAI's API, against an endpoint over real loopback HTTP."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from email.utils import formatdate
from typing import Any

import httpx2
import numpy as np
import pytest

from convex_memory.embedders.openai import (
    ANSWER_BYTES_MAX,
    BATCH_BYTES_MAX,
    BATCH_TEXTS_MAX,
    TRIES_MAX,
    OpenAIEmbedder,
)
from convex_memory.embedders.opening import OPENAI_URL
from convex_memory.errors import (
    EmbedderError,
    EmbedderRefused,
    EmbedderUnavailable,
    EmbedderUnreachable,
)
from tests.library.embeddings_endpoint import Answer, Endpoint, counted, serving

pytestmark = pytest.mark.anyio

KEY = "sk-Secret-0123456789"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as endpoint:
        yield endpoint


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def embedder(endpoint: Endpoint, clock: Clock) -> AsyncIterator[OpenAIEmbedder]:
    embedder = OpenAIEmbedder(
        "text-model", api_key=KEY, base_url=endpoint.url, clock=clock, sleep=clock.sleep
    )
    yield embedder
    await embedder.aclose()


def unit(text: str, dimension: int = 8) -> Any:
    vector = np.array(counted(text, dimension))
    return pytest.approx(vector / np.linalg.norm(vector), abs=1e-6)


async def failure(embedder: OpenAIEmbedder, *texts: str) -> EmbedderError:
    with pytest.raises(EmbedderError) as caught:
        await embedder.embed(texts or ("hello",))
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(error.details) + repr(embedder)
    assert KEY not in shown
    assert error.message.endswith(".")
    return error


# --- What is asked and answered


async def test_vectors_come_in_the_order_of_the_texts_whatever_the_endpoint_does(
    endpoint: Endpoint, embedder: OpenAIEmbedder
) -> None:
    texts = ["alpha", "beta", "gamma"]
    for endpoint.reverses in (False, True):
        for endpoint.writes_base64 in (False, True):
            made = await embedder.embed(texts)
            assert made.vectors.dtype == np.float32
            for vector, text in zip(made.vectors, texts, strict=True):
                assert vector == unit(text)


async def test_what_is_sent(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    await embedder.embed(["alpha", "béta"])
    [asked] = endpoint.asked
    assert asked.path == "/v1/embeddings"
    assert asked.body == {"model": "text-model", "input": ["alpha", "béta"]}
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.headers["Content-Type"] == "application/json"


async def test_an_endpoint_of_ones_own_gets_no_key(endpoint: Endpoint) -> None:
    embedder = OpenAIEmbedder("text-model", base_url=endpoint.url)
    await embedder.embed(["alpha"])
    assert "Authorization" not in endpoint.asked[0].headers
    await embedder.aclose()


async def test_the_dimension_is_learned_or_asked_for(
    endpoint: Endpoint, embedder: OpenAIEmbedder
) -> None:
    assert embedder.dimension is None
    await embedder.embed(["alpha"])
    assert embedder.dimension == 8
    shorter = OpenAIEmbedder("text-model", dimension=4, base_url=endpoint.url)
    assert shorter.dimension == 4
    assert (await shorter.embed(["alpha"])).vectors[0] == unit("alpha", 4)
    assert endpoint.asked[-1].body["dimensions"] == 4
    await shorter.aclose()


async def test_openai_itself_is_asked_for_base64() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={"data": [{"index": 0, "embedding": "AACAPwAAAAA="}]})

    embedder = OpenAIEmbedder("m", api_key=KEY, transport=httpx2.MockTransport(answer))
    assert (await embedder.embed(["alpha"])).vectors.tolist() == [[1.0, 0.0]]
    assert str(seen[0].url) == f"{OPENAI_URL}/embeddings"
    assert b'"encoding_format": "base64"' in seen[0].content
    await embedder.aclose()


async def test_an_endpoint_that_numbers_nothing_is_taken_at_its_order(
    endpoint: Endpoint, embedder: OpenAIEmbedder
) -> None:
    endpoint.faults = [Answer(body={"data": [{"embedding": [3, 4]}, {"embedding": [0, 2.5]}]})]
    made = await embedder.embed(["a", "b"])
    assert made.vectors.tolist() == pytest.approx(np.array([[0.6, 0.8], [0, 1]]))


async def test_no_texts_ask_for_nothing(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    assert len((await embedder.embed([])).vectors) == 0
    assert endpoint.asked == []


async def test_many_texts_go_in_several_requests(
    endpoint: Endpoint, embedder: OpenAIEmbedder
) -> None:
    texts = [f"text {number}" for number in range(2 * BATCH_TEXTS_MAX + 1)]
    made = await embedder.embed(texts)
    assert [len(batch) for batch in endpoint.texts] == [BATCH_TEXTS_MAX, BATCH_TEXTS_MAX, 1]
    assert made.vectors[BATCH_TEXTS_MAX] == unit(texts[BATCH_TEXTS_MAX])
    assert made.vectors[-1] == unit(texts[-1])


async def test_long_texts_go_in_requests_of_bounded_size(endpoint: Endpoint) -> None:
    embedder = OpenAIEmbedder("m", base_url=endpoint.url, window_bytes=8000)
    await embedder.embed(["é" * 3999] * 40)
    sizes = [sum(len(text.encode()) for text in batch) for batch in endpoint.texts]
    assert len(sizes) == 3
    assert max(sizes) <= BATCH_BYTES_MAX
    await embedder.aclose()


# --- Odd and long texts


async def test_what_cannot_be_sent_is_replaced(
    endpoint: Endpoint, embedder: OpenAIEmbedder
) -> None:
    await embedder.embed(["", " \n ", "a\x00b", "c\ud800d", "😀"])
    assert endpoint.texts == [["(blank)", "(blank)", "a b", "c?d", "😀"]]


async def test_a_long_text_is_sent_in_windows_and_comes_back_as_one(
    endpoint: Endpoint, embedder: OpenAIEmbedder
) -> None:
    long = "It rained in Oslo today. " * 140
    made = await embedder.embed(["short", long, "last"])
    [sent] = endpoint.texts
    windows = sent[1:-1]
    assert sent[0] == "short"
    assert sent[-1] == "last"
    assert len(windows) == 3
    assert max(len(window.encode()) for window in windows) <= 1500
    assert all(window.endswith("today. ") for window in windows)
    assert windows[0] == long[: len(windows[0])]
    assert long.endswith(windows[2])
    assert made.sampled == ()
    mean = sum(
        np.array(counted(each)) / np.linalg.norm(counted(each)) * len(each) for each in windows
    )
    assert made.vectors[1] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert made.vectors[2] == unit("last")


async def test_a_text_without_spaces_is_cut_between_characters(
    endpoint: Endpoint, embedder: OpenAIEmbedder
) -> None:
    await embedder.embed(["東京" * 1000])
    windows = endpoint.texts[0]
    assert "".join(windows) == "東京" * 1000
    assert max(len(window.encode()) for window in windows) <= 1500


async def test_a_text_beyond_all_windows_is_sampled_and_says_so(
    endpoint: Endpoint, embedder: OpenAIEmbedder
) -> None:
    just_too_many = "word " * (1500 * 31 // 5)
    huge = "0123456789" * 100_000
    made = await embedder.embed(["short", just_too_many, huge])
    sent = [text for batch in endpoint.texts for text in batch]
    assert len(sent) == 1 + 32 + 32
    assert made.sampled == (1, 2)
    assert made.vectors[2] == pytest.approx(made.vectors[2] / np.linalg.norm(made.vectors[2]))


# --- Faults


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529, None])
async def test_what_may_pass_is_tried_again(
    endpoint: Endpoint, embedder: OpenAIEmbedder, clock: Clock, status: int | None
) -> None:
    endpoint.faults = [Answer(status, {"error": {"message": "busy"}})] * 2
    assert (await embedder.embed(["alpha"])).vectors[0] == unit("alpha")
    assert len(endpoint.asked) == 3
    first, second = clock.pauses
    assert 0.125 <= first <= 0.25
    assert 0.25 <= second <= 0.5


async def test_tries_are_limited(
    endpoint: Endpoint,
    embedder: OpenAIEmbedder,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    endpoint.faults = [Answer(503, b"<html>down</html>")] * 20
    with caplog.at_level(logging.DEBUG):
        error = await failure(embedder, "the content")
    assert type(error) is EmbedderUnreachable
    assert "HTTP 503" in error.message
    assert len(endpoint.asked) == TRIES_MAX == len(clock.pauses) + 1
    ours = [record for record in caplog.records if record.name.startswith("convex_memory")]
    assert [record.getMessage().partition(" ms=")[0] for record in ours] == [
        "embedding failed model=text-model code=embedder_unreachable tries=5"
    ]
    assert KEY not in caplog.text
    assert "the content" not in caplog.text


@pytest.mark.parametrize("as_date", [False, True])
async def test_a_pause_that_is_asked_for_is_kept(
    endpoint: Endpoint, embedder: OpenAIEmbedder, clock: Clock, as_date: bool
) -> None:
    after = formatdate(time.time() + 9.5, usegmt=True) if as_date else "8.5"
    endpoint.faults = [Answer(429, {}, {"Retry-After": after})]
    await embedder.embed(["alpha"])
    [pause] = clock.pauses
    assert 7 <= pause <= 9.5


@pytest.mark.parametrize("after", ["nan", "inf", "-5", "soon", "Fri, 99 Nonsense 2030"])
async def test_a_pause_that_makes_no_sense_is_not(
    endpoint: Endpoint, embedder: OpenAIEmbedder, clock: Clock, after: str
) -> None:
    endpoint.faults = [Answer(429, {}, {"Retry-After": after})]
    await embedder.embed(["alpha"])
    assert max(clock.pauses) <= 0.25


async def test_a_pause_beyond_the_deadline_is_not_waited_for(
    endpoint: Endpoint, embedder: OpenAIEmbedder, clock: Clock
) -> None:
    endpoint.faults = [Answer(429, {}, {"Retry-After": "31"})]
    error = await failure(embedder)
    assert type(error) is EmbedderUnreachable
    assert "HTTP 429" in error.message
    assert clock.pauses == []


async def test_the_deadline_ends_an_endpoint_that_says_nothing(endpoint: Endpoint) -> None:
    told_enough = threading.Event()
    endpoint.faults = [Answer(waits_for=told_enough)]
    embedder = OpenAIEmbedder("m", base_url=endpoint.url, timeout_ms=300)
    error = await failure(embedder)
    told_enough.set()
    assert type(error) is EmbedderUnreachable
    assert "within 300 ms" in error.message
    await embedder.aclose()


async def test_an_endpoint_that_is_not_there_is_told_apart(clock: Clock) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        embedder = OpenAIEmbedder("m", base_url=url, clock=clock, sleep=clock.sleep)
        error = await failure(embedder)
    assert type(error) is EmbedderUnreachable
    assert "No connection" in error.message
    assert "OPENAI_BASE_URL" in error.message
    assert len(clock.pauses) == TRIES_MAX - 1
    await embedder.aclose()


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        (401, {"error": {"code": "invalid_api_key"}}, EmbedderUnavailable, "OPENAI_API_KEY"),
        (403, {}, EmbedderUnavailable, "refused the API key"),
        (404, {"error": {"code": "model_not_found"}}, EmbedderUnavailable, "model_not_found"),
        (429, {"error": {"code": "insufficient_quota"}}, EmbedderUnavailable, "used up"),
        (400, {"error": {"type": "invalid_request_error"}}, EmbedderRefused, "invalid_request"),
        (413, b"too large", EmbedderRefused, "HTTP 413"),
        (422, [], EmbedderRefused, "HTTP 422"),
        (307, {}, EmbedderUnavailable, "HTTP 307"),
        (204, b"", EmbedderUnavailable, "HTTP 204"),
    ],
)
async def test_what_will_not_pass_is_said_at_once(
    endpoint: Endpoint,
    embedder: OpenAIEmbedder,
    status: int,
    body: Any,
    kind: type[EmbedderError],
    told: str,
) -> None:
    endpoint.faults = [Answer(status, body, {"Location": "https://elsewhere.example/"})]
    error = await failure(embedder)
    assert type(error) is kind
    assert told in error.message
    assert len(endpoint.asked) == 1


async def test_a_refusal_names_the_texts_of_its_request(
    endpoint: Endpoint, embedder: OpenAIEmbedder
) -> None:
    endpoint.faults = [Endpoint("no faults").answer, Answer(400, {})]
    texts = [f"text {number}" for number in range(BATCH_TEXTS_MAX + 2)]
    error = await failure(embedder, *texts)
    assert error.details == {"positions": [BATCH_TEXTS_MAX, BATCH_TEXTS_MAX + 1], "status": 400}


async def test_what_an_endpoint_says_is_not_shown(
    endpoint: Endpoint, embedder: OpenAIEmbedder
) -> None:
    quoted = {"error": {"message": f"bad key {KEY}: my diary", "code": KEY, "type": "my diary"}}
    for status in (400, 401, 404, 500):
        endpoint.faults = [Answer(status, quoted)] * TRIES_MAX
        error = await failure(embedder, "my diary")
        assert "my diary" not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[" * 100_000,
        [],
        {"error": {"message": "200 all the same"}},
        {"data": []},
        {"data": [{"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]},
        {"data": [{"index": 0, "embedding": [0.0]}, {"index": 1, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]},
        {"data": [{"index": 0, "embedding": ["x"]}, {"index": 1, "embedding": ["y"]}]},
        {"data": [{"index": 0, "embedding": [[1.0]]}, {"index": 1, "embedding": [[1.0]]}]},
        {"data": [{"index": 0, "embedding": None}, {"index": 1, "embedding": None}]},
        {"data": [{"index": 0, "embedding": "%%%%"}, {"index": 1, "embedding": "%%%%"}]},
        {"data": [{"index": 0, "embedding": "AAA="}, {"index": 1, "embedding": "AAA="}]},
        {"data": [{"index": 0, "embedding": [1e400]}, {"index": 1, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [10**400]}, {"index": 1, "embedding": [1.0]}]},
        {"data": ["a", "b"]},
        {"data": [1, 2]},
    ],
)
async def test_an_answer_that_is_no_embeddings_is_refused(
    endpoint: Endpoint, embedder: OpenAIEmbedder, body: Any
) -> None:
    endpoint.faults = [Answer(200, body)]
    error = await failure(embedder, "alpha", "beta")
    assert type(error) is EmbedderUnavailable
    assert "something that is not 2 embeddings" in error.message
    assert (await embedder.embed(["alpha"])).vectors[0] == unit("alpha")


async def test_an_answer_without_end_is_not_read_to_its_end(
    endpoint: Endpoint, embedder: OpenAIEmbedder
) -> None:
    endpoint.faults = [Answer(200, b" " * (ANSWER_BYTES_MAX + 1))]
    error = await failure(embedder)
    assert type(error) is EmbedderUnavailable


@pytest.mark.parametrize("asked", [None, 8])
async def test_vectors_of_another_length_are_refused(endpoint: Endpoint, asked: int | None) -> None:
    embedder = OpenAIEmbedder("m", dimension=asked, base_url=endpoint.url)
    await embedder.embed(["alpha"])
    endpoint.faults = [Answer(200, {"data": [{"index": 0, "embedding": [1.0, 2.0]}]})]
    error = await failure(embedder)
    assert type(error) is EmbedderUnavailable
    assert "2 dimensions instead of 8" in error.message
    assert error.details == {"given": 2, "dimension": 8}
    await embedder.aclose()


# --- Closing


async def test_a_closed_embedder_sends_nothing(
    endpoint: Endpoint, embedder: OpenAIEmbedder
) -> None:
    await embedder.aclose()
    error = await failure(embedder)
    assert "has been closed" in error.message
    assert endpoint.asked == []


async def test_closing_ends_what_is_under_way(endpoint: Endpoint) -> None:
    embedder = OpenAIEmbedder("m", base_url=endpoint.url)
    come, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(body: dict[str, Any]) -> Answer:
        loop.call_soon_threadsafe(come.set)
        return Answer(503, {}, waits_for=go_on)

    endpoint.faults = [slow]
    work = asyncio.create_task(embedder.embed(["alpha"]))
    await come.wait()
    await embedder.aclose()
    go_on.set()
    with pytest.raises(EmbedderError):
        await work
    assert len(endpoint.asked) == 1


async def test_many_tasks_may_embed_at_once(endpoint: Endpoint, embedder: OpenAIEmbedder) -> None:
    texts = [f"text {number}" for number in range(20)]
    made = await asyncio.gather(*(embedder.embed([text]) for text in texts))
    for text, each in zip(texts, made, strict=True):
        assert each.vectors[0] == unit(text)
