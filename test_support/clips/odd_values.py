"""Values that files may contain by mistake, as strategies for property-based tests."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

DTYPES = ("?", "i1", "i8", "u2", "f2", "f4", "f8", "c8", "U3", "S2", ">f4")
# Without "\0" and line ends where a test needs single lines.
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=12)

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([2**31, 2**63, 10**400, -(10**400)]),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=8),
)
_arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3))
)


def odd_values() -> st.SearchStrategy[object]:
    """Return a strategy for scalars, containers and arrays of any kind that a skeleton file can contain."""
    keys = st.one_of(st.text(max_size=4), st.integers(), st.none(), st.booleans(), st.floats())
    return st.recursive(
        st.one_of(_scalars, _arrays),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(keys, inner, max_size=3),
        ),
        max_leaves=6,
    )


def is_equal(one: object, other: object) -> bool:
    """Return whether two trees of containers and arrays have the same content and types; NaN equals NaN."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return len(one) == len(other) and all(
            is_equal(first, second)
            for pair in zip(one.items(), other.items(), strict=True)
            for first, second in zip(*pair, strict=True)
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return one == other or (one != one and other != other)
