"""The plain text of messages in every shape that has been stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_memory.text import TOOL_CHARS_MAX, message_text, text_content

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
MESSAGE_LIKE = st.dictionaries(
    st.sampled_from(["format", "parts", "content", "text", "toolInvocations", "metadata"]),
    st.one_of(
        JSON_VALUES,
        st.lists(
            st.dictionaries(
                st.sampled_from(
                    ["type", "text", "toolInvocation", "toolName", "args", "data", "source"]
                ),
                st.one_of(
                    JSON_VALUES,
                    st.sampled_from(["text", "reasoning", "tool-invocation", "file", "tool-x"]),
                ),
            )
        ),
    ),
)


def format_2(*parts: dict[str, Any], content: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"format": 2, "parts": list(parts)}
    return body if content is None else {**body, "content": content}


def test_content_made_from_text_is_what_mastra_expects() -> None:
    assert text_content("hi") == {
        "format": 2,
        "parts": [{"type": "text", "text": "hi"}],
    }


def test_content_made_from_text_carries_metadata_when_there_is_any() -> None:
    assert text_content("hi", metadata={"a": 1})["metadata"] == {"a": 1}
    assert "metadata" not in text_content("hi", metadata={})


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_made_into_content_comes_back_as_it_was(text: str) -> None:
    assert message_text(json.dumps(text_content(text))) == text
    assert message_text(text_content(text)) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "text", "text": "said"}, "said"),
        ({"type": "reasoning", "reasoning": "thought"}, "thought"),
        ({"type": "reasoning", "text": "thought"}, "thought"),
        (
            {"type": "reasoning", "reasoning": "", "details": [{"type": "text", "text": "deep"}]},
            "deep",
        ),
        (
            {
                "type": "tool-invocation",
                "toolInvocation": {
                    "state": "result",
                    "toolCallId": "c1",
                    "toolName": "weather",
                    "args": {"city": "Oslo"},
                    "result": {"degrees": 4, "wet": True, "wind": [1.5, None]},
                },
            },
            "weather city Oslo degrees 4 wet true wind 1.5",
        ),
        ({"type": "tool-call", "toolName": "look", "args": {"for": "it"}}, "look for it"),
        ({"type": "tool-result", "toolName": "look", "result": "found"}, "look found"),
        ({"type": "tool-look", "input": {"for": "it"}, "output": "found"}, "look for it found"),
        ({"type": "dynamic-tool", "toolName": "look", "output": "found"}, "look found"),
        ({"type": "file", "filename": "a.png", "data": "AAAA", "mimeType": "image/png"}, "a.png"),
        ({"type": "file", "url": "data:image/png;base64,AAAA"}, ""),
        ({"type": "source", "source": {"url": "https://x.example", "title": "X"}},
         "X https://x.example"),
        ({"type": "source-document", "title": "Paper", "filename": "p.pdf"}, "Paper p.pdf"),
        ({"type": "data-place", "data": {"city": "Oslo"}}, "city Oslo"),
        ({"type": "step-start"}, ""),
        ({"type": "redacted-reasoning", "data": "xyz"}, ""),
        ({"type": "something-new", "text": "still said"}, "still said"),
    ],
)  # fmt: skip
def test_each_kind_of_part_says_what_it_holds(part: dict[str, Any], text: str) -> None:
    assert message_text(json.dumps(format_2(part))) == text
    assert message_text(format_2(part)) == text


def test_parts_stand_one_to_a_line_and_silent_ones_take_none() -> None:
    content = format_2(
        {"type": "step-start"}, {"type": "text", "text": "one"}, {"type": "text", "text": "two"}
    )
    assert message_text(content) == "one\ntwo"


def test_parts_win_over_the_content_that_repeats_them() -> None:
    assert message_text(format_2({"type": "text", "text": "part"}, content="body")) == "part"


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("plain words", "plain words"),
        ("", ""),
        ("{}", ""),
        ('{"format":2,"parts":[],"content":"body"}', "body"),
        ('{"format":2,"parts":[]}', ""),
        ('{"format":2,"parts":[{"type":"step-start"}],"content":"body"}', "body"),
        ('{"content":[{"type":"text","text":"v1"}]}', "v1"),
        ('[{"type":"text","text":"one"},{"type":"text","text":"two"}]', "one\ntwo"),
        ('"in quotes"', "in quotes"),
        ('{"text":"just text"}', "just text"),
        ("42", "42"),
        ("true", "true"),
        ("[1, 2]", "[1, 2]"),
        ('{"answer": 42}', '{"answer": 42}'),
        ('{"format":2,"parts":', '{"format":2,"parts":'),
        ("[draft] to do", "[draft] to do"),
        ('"Hi", she said', '"Hi", she said'),
    ],
)
def test_stored_text_of_every_age_is_read(stored: str, text: str) -> None:
    assert message_text(stored) == text


def test_tool_calls_beside_legacy_content_count() -> None:
    content = {"content": "done", "toolInvocations": [{"toolName": "look", "args": {"a": "b"}}]}
    assert message_text(json.dumps(content)) == "done\nlook a b"


def test_a_tool_result_adds_a_bounded_number_of_characters() -> None:
    part = {"type": "tool-result", "toolName": "dump", "result": ["x" * 3000] * 100}
    assert len(message_text(format_2(part))) <= len("dump ") + TOOL_CHARS_MAX


def test_depth_is_no_reason_to_fail() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert message_text(deep) == deep
    nested: Any = "bottom"
    for _ in range(5000):
        nested = [nested]
    part = {"type": "tool-result", "toolName": "dig", "result": nested}
    assert message_text(format_2(part)) == "dig"


def test_half_a_surrogate_pair_becomes_valid_text() -> None:
    text = message_text('{"format":2,"parts":[{"type":"text","text":"a\\ud800b \\u00e9"}]}')
    assert text == "a?b é"


@given(MESSAGE_LIKE | JSON_VALUES.filter(lambda value: isinstance(value, str | dict)))
def test_no_content_is_an_error(content: Any) -> None:
    message_text(content).encode()


@given(JSON_VALUES | MESSAGE_LIKE)
def test_no_stored_json_is_an_error(value: Any) -> None:
    message_text(json.dumps(value)).encode()
