"""How vectors are held in their columns: many packed at once are as each packed by itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from convex_memory.embedded.vector_blobs import PackedVector, packed, read_vector, write_vector
from convex_memory.values import FiniteFloats

NUMBERS = st.one_of(
    st.floats(-1, 1, width=32),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-40, 3.4e38, 3.5e38, -1e300, 5e-324, 0.1]),
)


@given(
    st.integers(1, 6).flatmap(
        lambda dimension: st.lists(
            st.lists(NUMBERS, min_size=dimension, max_size=dimension), min_size=1, max_size=20
        )
    )
)
def test_many_are_packed_as_each_by_itself(vectors: list[list[float]]) -> None:
    many = packed([FiniteFloats(vector) for vector in vectors], len(vectors[0]))
    assert [list(vector) for vector in many] == vectors
    assert {isinstance(vector, PackedVector) for vector in many} == {len(vectors) >= 8}
    blobs = [write_vector(vector) for vector in many]
    assert blobs == [write_vector(vector) for vector in vectors]
    # As text, for -0.0 equals 0.0.
    assert list(map(repr, map(read_vector, blobs))) == list(map(repr, vectors))


def test_float32_is_kept_where_it_loses_nothing() -> None:
    assert [write_vector([number])[-1:] for number in (0.5, 1e-45, -0.0, 0.1, 1e300)] == [
        b"f", b"d", b"f", b"d", b"d",
    ]  # fmt: skip
