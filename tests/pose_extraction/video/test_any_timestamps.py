"""Any time stamps become strictly increasing times, and valid ones keep their meaning."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pose_extraction.formats.clip_times import has_unusable_times, times_of
from pose_extraction.video.clock import FrameClock
from recognition.data.transforms.sampling import at_rate
from test_support.clips.odd_values import odd_values

BASES = st.fractions(Fraction(1, 10**9), Fraction(10))
STAMPS = st.none() | st.integers(-1000, 1000) | st.integers(-(2**63), 2**63 - 1)


@given(
    st.lists(STAMPS, min_size=1, max_size=20), BASES, st.floats(1e-4, 100), st.none() | st.integers(-(2**63), 2**63 - 1)
)
def test_times_always_increase(stamps: list[int | None], base: Fraction, step: float, origin: int | None) -> None:
    clock = FrameClock(base, step, origin)
    times = [clock.time(stamp) for stamp in stamps]
    assert all(math.isfinite(time) for time in times)
    assert all(later > earlier for earlier, later in pairwise(times))
    assert all(start < end for start, end in clock.holes)
    assert clock.repaired <= len(stamps)


@given(
    st.integers(-(2**40), 2**40),
    st.lists(st.integers(1, 10**6), max_size=20),
    st.sampled_from([Fraction(1, 1000), Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 10**6)]),
)
def test_valid_stamps_keep_their_distances(first: int, steps: list[int], base: Fraction) -> None:
    stamps = [first + sum(steps[:count]) for count in range(len(steps) + 1)]
    clock = FrameClock(base, 0.04)
    times = [clock.time(stamp) for stamp in stamps]
    assert times == [float((stamp - first) * base) for stamp in stamps] and clock.repaired == 0


@given(time=odd_values() | st.lists(st.floats(), max_size=4), fps=odd_values(), frames=st.integers(1, 4))
def test_times_of_a_clip_are_usable_or_none(time: object, fps: object, frames: int) -> None:
    clip = {"time": time, "fps": fps}
    found = times_of(clip, frames)
    if found is None:
        return
    assert found.shape == (frames,) and np.isfinite(found).all() and (np.diff(found) > 0).all()
    assert not has_unusable_times(clip, frames)


@given(st.lists(st.integers(1, 2000), max_size=12), st.integers(0, 10**6), st.floats(0.5, 100))
def test_resampled_joints_move_as_before(steps: list[int], start: int, rate: float) -> None:
    """A joint that moves at a constant speed is, at every new time, where it was."""
    time = np.cumsum([start, *steps]) / 1000
    place = (3 * (time - time[0]) + 1).astype(np.float32)
    keypoint = np.broadcast_to(place[None, :, None, None], (1, len(time), 1, 2))
    found, score, new = at_rate(keypoint, np.ones((1, len(time), 1), np.float32), time, rate)
    assert new[0] == time[0] and new[-1] <= time[-1] and time[-1] - new[-1] <= 1 / rate
    assert (np.diff(new) >= 0).all() and (score == 1).all()
    np.testing.assert_allclose(found[0, :, 0, 0], 3 * (new - time[0]) + 1, rtol=1e-4)
