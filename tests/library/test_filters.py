"""The filter grammar: what matches, what is refused, and both of its spellings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convex_memory.conditions import FILTER_CONDITIONS_MAX, FILTER_DEPTH_MAX, FILTER_VALUES_MAX
from convex_memory.errors import InvalidArgument, LimitExceeded
from convex_memory.filters import Equality, from_wire, parse, to_wire
from convex_memory.patterns import PATTERN_CHARS_MAX, TEXT_CHARS_MAX, compile_pattern
from convex_memory.values import check

BOOK: dict[str, Any] = {
    "title": "The Left Hand of Darkness",
    "year": 1969,
    "rating": 4.5,
    "read": True,
    "lent_to": None,
    "tags": ["novel", "winter"],
    "scores": [0, 9],
    "author": {"name": "Le Guin", "born": {"year": 1929}},
    "editions": [
        {"country": "US", "pages": 304, "prizes": ["Hugo", "Nebula"]},
        {"country": "UK", "pages": 286},
    ],
    "dotted.name": "whole",
    "dotted": {"name": "path", "other": "inner"},
    "empty": [],
}

HOLDS: list[Mapping[str, Any]] = [
    {},
    {"year": 1969},
    {"year": 1969.0},
    {"year": {"$eq": 1969}},
    {"title": "The Left Hand of Darkness", "read": True},
    {"lent_to": None},
    {"tags": "winter"},
    {"tags": ["novel", "winter"]},
    {"author": {"born": {"year": 1929}, "name": "Le Guin"}},
    {"year": {"$ne": 1970}},
    {"absent": {"$ne": 1}},
    {"tags": {"$ne": "summer"}},
    {"year": {"$gt": 1968, "$lte": 1969}},
    {"title": {"$gte": "The", "$lt": "Ti"}},
    {"scores": {"$gt": 8}},
    {"scores": {"$gt": 5, "$lt": 3}},
    {"year": {"$in": [1968, 1969]}},
    {"tags": {"$in": ["summer", "winter"]}},
    {"lent_to": {"$in": [None]}},
    {"year": {"$nin": [1, "1969"]}},
    {"absent": {"$nin": [1]}},
    {"year": {"$nin": []}},
    {"lent_to": {"$exists": True}},
    {"absent": {"$exists": False}},
    {"author.born": {"$exists": True}},
    {"title": {"$regex": "^The .* of D"}},
    {"title": {"$regex": "^the", "$options": "i"}},
    {"tags": {"$regex": "^win"}},
    {"title": {"$contains": "Left Hand"}},
    {"tags": {"$contains": "novel"}},
    {"tags": {"$contains": ["winter", "novel"]}},
    {"author": {"$contains": {"born": {"year": 1929}}}},
    {"author": {"$contains": {}}},
    {"tags": {"$all": ["winter", "novel"]}},
    {"year": {"$all": [1969]}},
    {"tags": {"$size": 2}},
    {"tags": {"$size": 2.0}},
    {"empty": {"$size": 0}},
    {"editions": {"$elemMatch": {"country": "UK", "pages": {"$lt": 300}}}},
    {"editions": {"$elemMatch": {"prizes": "Hugo"}}},
    {"scores": {"$elemMatch": {"$gt": 5, "$lt": 10}}},
    {"tags": {"$elemMatch": {"$regex": "^nov", "$ne": "novella"}}},
    {"author.name": "Le Guin"},
    {"author.born.year": {"$lt": 1930}},
    {"editions.country": "UK"},
    {"editions.1.pages": 286},
    {"editions.prizes": "Nebula"},
    {"editions.prizes.0": "Hugo"},
    {"tags.1": "winter"},
    {"dotted.name": "whole"},
    {"dotted.other": "inner"},
    {"$and": []},
    {"$and": [{"year": 1969}, {"read": True}]},
    {"$or": [{"year": 1}, {"read": True}]},
    {"$nor": []},
    {"$nor": [{"year": 1}, {"read": False}]},
    {"$not": {"year": 1}},
    {"year": {"$not": {"$gt": 1970}}},
    {"year": {"$not": 1}},
    {"absent": {"$not": {"$gt": 1970}}},
    {"metadata": {"year": 1969}},
    {"metadata": {"year": 1969}, "read": True},
    {"$and": [{"metadata": {"year": 1969}}]},
]

HOLDS_NOT: list[Mapping[str, Any]] = [
    {"year": 1970},
    {"year": "1969"},
    {"read": 1},
    {"read": {"$in": [1, "true"]}},
    {"year": True},
    {"absent": None},
    {"lent_to": {"$exists": False}},
    {"absent": {"$exists": True}},
    {"tags": ["winter", "novel"]},
    {"tags": "win"},
    {"author": {"name": "Le Guin"}},
    {"year": {"$ne": 1969}},
    {"tags": {"$ne": "winter"}},
    {"year": {"$gte": 1960, "$lt": 1969}},
    {"year": {"$gt": "1900"}},
    {"title": {"$gt": 5}},
    {"read": {"$gt": 0}},
    {"lent_to": {"$lte": 0}},
    {"absent": {"$lt": 5}},
    {"year": {"$in": []}},
    {"tags": {"$nin": ["winter"]}},
    {"year": {"$regex": "1969"}},
    {"title": {"$regex": "^left"}},
    {"title": {"$contains": ["The"]}},
    {"year": {"$contains": 1}},
    {"tags": {"$contains": ["novel", "summer"]}},
    {"author": {"$contains": {"born": {"year": 1930}}}},
    {"author": {"$contains": {"died": 2018}}},
    {"tags": {"$all": ["winter", "summer"]}},
    {"tags": {"$all": []}},
    {"tags": {"$size": 1}},
    {"title": {"$size": 25}},
    {"absent": {"$size": 0}},
    {"editions": {"$elemMatch": {"country": "UK", "pages": 304}}},
    {"scores": {"$elemMatch": {"$gt": 5, "$lt": 9}}},
    {"author": {"$elemMatch": {"name": "Le Guin"}}},
    {"author.name.first": "Ursula"},
    {"tags.7": "winter"},
    {"dotted.name": "path"},
    {"$or": []},
    {"$or": [{"year": 1}, {"read": False}]},
    {"$nor": [{"year": 1969}]},
    {"$not": {"year": 1969, "read": True}},
    {"year": {"$not": {"$gt": 1960, "$lt": 1970}}},
    {"metadata": {"year": 1}, "read": True},
    {"metadata": {"year": 1969}, "read": False},
]


@pytest.mark.parametrize("given_filter", HOLDS, ids=repr)
def test_a_filter_that_holds_matches_in_both_spellings(given_filter: Mapping[str, Any]) -> None:
    assert parse(given_filter).matches(BOOK) is True
    assert from_wire(to_wire(parse(given_filter))).matches(BOOK) is True


@pytest.mark.parametrize("given_filter", HOLDS_NOT, ids=repr)
def test_a_filter_that_does_not_hold_matches_in_neither_spelling(
    given_filter: Mapping[str, Any],
) -> None:
    assert parse(given_filter).matches(BOOK) is False
    assert from_wire(to_wire(parse(given_filter))).matches(BOOK) is False


@pytest.mark.parametrize("given_filter", HOLDS + HOLDS_NOT, ids=repr)
def test_the_wire_form_is_a_value_that_functions_accept_and_reads_back_the_same(
    given_filter: Mapping[str, Any],
) -> None:
    filter = parse(given_filter)
    wire = to_wire(filter)
    assert check(wire) > 0
    assert from_wire(wire) == filter


def test_the_wire_form_is_tagged_nested_arrays() -> None:
    filter = parse(
        {
            "lang": "en",
            "year": {"$gte": 1990, "$ne": 1999},
            "tags": {"$elemMatch": {"$regex": "^a", "$options": "i"}},
            "$or": [{"a.b": 1}, {"c": {"$nin": [1, 2]}}],
        }
    )
    assert to_wire(filter) == [
        "and",
        [
            ["eq", "lang", "en"],
            ["gte", "year", 1990],
            ["not", ["eq", "year", 1999]],
            ["element", "tags", ["regex", "", "^a", True]],
            ["or", [["eq", "a.b", 1], ["not", ["in", "c", [1, 2]]]]],
        ],
    ]


def test_no_filter_and_the_empty_filter_match_a_record_without_metadata() -> None:
    assert parse(None).matches(None) is True
    assert parse({}).matches(None) is True
    assert from_wire(None).matches(None) is True
    assert from_wire(["and", []]).matches(None) is True


@pytest.mark.parametrize(
    "given_filter", [{"a": 1}, {"a": {"$ne": 1}}, {"a": {"$exists": False}}, {"$or": []}]
)
def test_a_record_without_metadata_matches_no_other_filter(given_filter: dict[str, Any]) -> None:
    assert parse(given_filter).matches(None) is False


@pytest.mark.parametrize(
    "given_filter",
    [None, {}, {"$and": []}, {"$and": [{}]}, {"$or": [{"a": 1}, {}]}, {"$nor": []}],
    ids=repr,
)
def test_a_filter_that_cannot_exclude_anything_is_empty(
    given_filter: dict[str, Any] | None,
) -> None:
    assert parse(given_filter).is_empty is True


def test_an_unknown_operator_is_refused_with_the_choices() -> None:
    with pytest.raises(InvalidArgument, match=r"\$near for place.*\$eq, \$ne, \$gt"):
        parse({"place": {"$near": [1, 2]}})
    with pytest.raises(InvalidArgument, match=r"\$xor .*\$and, \$or, \$nor or \$not"):
        parse({"$xor": []})


@pytest.mark.parametrize(
    ("given_filter", "said"),
    [
        ([], "A filter is an object"),
        ("x", "A filter is an object"),
        ({"": 1}, "field names are non-empty text"),
        ({1: 1}, "field names are non-empty text"),
        ({"$gt": 1}, "stand inside a field"),
        ({"a": {"$gt": 1, "b": 2}}, "unknown operator b for a"),
        ({"a": {"$gt": None}}, "number or text"),
        ({"a": {"$gt": True}}, "number or text"),
        ({"a": {"$lt": [1]}}, "number or text"),
        ({"a": {"$in": 1}}, "list of values"),
        ({"a": {"$in": "abc"}}, "list of values"),
        ({"a": {"$all": {}}}, "list of values"),
        ({"a": {"$exists": 1}}, "true or false"),
        ({"a": {"$size": -1}}, "whole number"),
        ({"a": {"$size": 1.5}}, "whole number"),
        ({"a": {"$size": True}}, "whole number"),
        ({"a": {"$regex": 1}}, "takes text"),
        ({"a": {"$options": "i"}}, r"\$options goes with \$regex"),
        ({"a": {"$regex": "x", "$options": "m"}}, r"\$options may only be"),
        ({"a": {"$elemMatch": {}}}, r"\$elemMatch for a takes"),
        ({"a": {"$elemMatch": 1}}, r"\$elemMatch for a takes"),
        ({"$and": {}}, r"\$and takes a list"),
        ({"$or": [1]}, "A filter is an object"),
        ({"$not": {}}, r"\$not is empty"),
        ({"a": float("nan")}, "must be finite"),
        ({"a": {"b": {"$c": 1}}}, r"\$c starts with"),
        ({"a": ...}, "not a JSON value"),
        ({"a": "\ud800"}, "lone surrogate"),
    ],
    ids=repr,
)
def test_a_malformed_filter_is_refused_in_words(given_filter: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        parse(given_filter)


@pytest.mark.parametrize(
    "wire",
    [
        {},
        "and",
        [],
        ["and"],
        ["and", {}],
        ["eq", "a"],
        ["eq", 1, 2],
        ["ne", "a", 1],
        ["not", []],
        ["regex", "a", "x"],
        ["exists", "a", 1],
        ["element", "a", {}],
    ],
    ids=repr,
)
def test_a_malformed_wire_filter_is_refused(wire: Any) -> None:
    with pytest.raises(InvalidArgument):
        from_wire(wire)


def test_depth_conditions_and_values_are_bounded() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(FILTER_DEPTH_MAX):
        deep = {"$or": [{"a": 1, "$or": [{"b": 1}, deep]}, {"c": 1}]}
    with pytest.raises(LimitExceeded, match=f"more than {FILTER_DEPTH_MAX} deep"):
        parse(deep)
    endless: dict[str, Any] = {}
    endless["$and"] = [endless]
    with pytest.raises(LimitExceeded, match="deep"):
        parse(endless)
    with pytest.raises(LimitExceeded, match=f"more than {FILTER_CONDITIONS_MAX} conditions"):
        parse({"$or": [{"a": number} for number in range(FILTER_CONDITIONS_MAX + 1)]})
    with pytest.raises(LimitExceeded, match=f"at most {FILTER_VALUES_MAX}"):
        parse({"a": {"$in": list(range(FILTER_VALUES_MAX + 1))}})
    with pytest.raises(LimitExceeded, match="at most 1024"):
        parse({"a" * 1025: 1})


def test_the_deepest_filter_still_fits_the_wire() -> None:
    deep: dict[str, Any] = {"a": {"$elemMatch": {"$gt": 1, "$lt": 2}}}
    while True:
        deeper = {"$or": [{"b": 1, **deep}, {"c": 1}]}
        try:
            filter = parse(deeper)
        except LimitExceeded:
            break
        deep = deeper
    wire = to_wire(parse(deep))
    assert check({"filter": wire}) > 0
    assert from_wire(wire) == parse(deep)
    assert filter != parse({})


def test_equalities_are_the_fields_that_must_equal_a_scalar() -> None:
    filter = parse(
        {"a": 1, "b": {"$eq": "x"}, "c": {"$gt": 1}, "d": [1], "$and": [{"e": None}, {"a": 2}]}
    )
    assert filter.equalities() == {"a": 1, "b": "x", "e": None}
    assert parse({"$or": [{"a": 1}, {"b": 2}]}).equalities() == {}
    assert parse({}).equalities() == {}


def test_alternatives_are_the_filter_as_equalities_of_which_one_suffices() -> None:
    assert parse({"a": 1}).alternatives() == (Equality("a", 1),)
    assert parse({"metadata": {"a": {"$eq": None}}}).alternatives() == (Equality("a", None),)
    assert parse({"a": {"$in": [1, "x"]}}).alternatives() == (Equality("a", 1), Equality("a", "x"))
    assert parse({"$or": [{"a": 1}, {"b": True}, {"a": {"$in": [2]}}]}).alternatives() == (
        Equality("a", 1),
        Equality("b", True),
        Equality("a", 2),
    )
    assert parse({"$or": []}).alternatives() == ()
    for richer in (
        {},
        {"a": 1, "b": 2},
        {"a": {"$ne": 1}},
        {"a": [1]},
        {"a": {"$in": [[1]]}},
        {"$or": [{"a": 1}, {"b": {"$gt": 2}}]},
        {"$or": [{"a": 1}, {"b": 2, "c": 3}]},
    ):
        assert parse(richer).alternatives() is None


def test_parts_are_the_filters_that_must_all_hold() -> None:
    assert parse({}).parts() == ()
    assert parse({"a": 1}).parts() == (parse({"a": 1}),)
    assert parse({"a": 1, "$and": [{"b": {"$gt": 2}}]}).parts() == (
        parse({"a": 1}),
        parse({"b": {"$gt": 2}}),
    )


# --- Patterns

_ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\W", "1", "^", "(?:)"])
_PATTERNS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("({}|{})".format, inner, inner),
        st.builds(
            "(?:{}){}".format,
            inner,
            st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0}", "{1,}"]),
        ),
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(_PATTERNS, st.text("ab1 \n", max_size=8))
def test_patterns_find_what_python_finds(pattern: str, text: str) -> None:
    assert compile_pattern(pattern).found_in(text) is bool(re.search(pattern, text))


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("end$", "the end", True),
        ("end$", "end of it", False),
        ("end$", "the end\n", False),
        ("^(?:a|b)+$", "abba", True),
        ("^(?:a|b)+$", "abca", False),
        (r"^\w+@\w+\.org$", "ursula@example.org", True),
        (r"[\w.-]+", "-", True),
        (r"[a\]]", "]", True),
        (r"\$5\.00", "for $5.00", True),
        ("", "", True),
        ("ä", "Bär", True),
        (".", "🦉", True),
    ],
)
def test_patterns_read_the_syntax_they_promise(pattern: str, text: str, found: bool) -> None:
    assert compile_pattern(pattern).found_in(text) is found


def test_patterns_can_ignore_case_in_letters_and_ranges() -> None:
    assert compile_pattern("^[a-f]+É$", True).found_in("BAdé") is True
    assert compile_pattern("^[a-f]+$", False).found_in("BAd") is False


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "^(a|a)*$", "(a*)*b", "a*a*a*a*a*a*b", "(.*)*x", "(a?){60}a{60}b"]
)
def test_patterns_that_choke_a_backtracking_engine_finish_at_once(pattern: str) -> None:
    assert compile_pattern(pattern).found_in("a" * 5000 + "!") is False


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "a)",
        "*a",
        "a**",
        "a+?",
        "[a",
        "[]",
        "[b-a]",
        r"\b",
        r"\1",
        "(?=a)",
        "a{2,1}",
        "a{",
        "\\",
    ],
)
def test_patterns_with_wrong_or_missing_syntax_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgument, match="The pattern"):
        parse({"a": {"$regex": pattern}})


def test_patterns_and_their_texts_are_bounded() -> None:
    with pytest.raises(LimitExceeded, match=f"at most {PATTERN_CHARS_MAX}"):
        parse({"a": {"$regex": "a" * (PATTERN_CHARS_MAX + 1)}})
    with pytest.raises(LimitExceeded, match="repetitions smaller"):
        parse({"a": {"$regex": "((((a{99}){99}){99}){99})"}})
    with pytest.raises(LimitExceeded, match="repetitions smaller"):
        parse({"a": {"$regex": "(((){9999}){9999}){9999}"}})
    with pytest.raises(InvalidArgument, match="nests groups"):
        parse({"a": {"$regex": "(" * 50 + ")" * 50}})
    with pytest.raises(LimitExceeded, match=f"at most {TEXT_CHARS_MAX}"):
        parse({"a": {"$regex": "b"}}).matches({"a": "a" * (TEXT_CHARS_MAX + 1)})
