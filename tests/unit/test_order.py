"""Percentiles equal NumPy's to the last bit, so that frames do not depend on the implementation."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from digits.order import percentile

GREYS = arrays(np.uint8, array_shapes(max_dims=2, max_side=60))
AMOUNTS = arrays(
    np.float32, array_shapes(max_dims=2, max_side=60), elements=st.floats(0, 1, width=32)
)


@settings(deadline=None)
@given(GREYS, st.integers(0, 100))
def test_one_percentile_of_greys_is_numpys(values, share):
    assert percentile(values, share) == np.percentile(values, share)


@settings(deadline=None)
@given(AMOUNTS, st.integers(0, 100))
def test_one_percentile_of_amounts_is_numpys(values, share):
    """NumPy divided by a hundred in single precision before 2.3: not to the last bit, then."""
    ours = percentile(values, share)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, np.percentile(values, share), rtol=1e-4, atol=1e-6)


@settings(deadline=None)
@given(GREYS | AMOUNTS, st.tuples(st.integers(0, 100), st.integers(0, 100)))
def test_several_percentiles_are_numpys(values, shares):
    theirs = np.percentile(values, shares)
    assert [percentile(values, np.float64(share)) for share in shares] == list(theirs)


def test_large_planes_have_equal_percentiles():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (800, 613), np.uint8)
    amount = rng.random((400, 533), np.float32)
    shares = (2, 16, 50, 90, 95, 98)
    assert [percentile(grey, share) for share in shares] == list(np.percentile(grey, shares))
    exact = np.percentile(amount, shares)
    assert [percentile(amount, np.float64(share)) for share in shares] == list(exact)
