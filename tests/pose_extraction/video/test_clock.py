"""Strictly increasing times for any time stamps."""

from fractions import Fraction

import pytest

from pose_extraction.video.clock import FrameClock

MILLISECOND = Fraction(1, 1000)


@pytest.mark.parametrize(
    ("case", "stamps", "seconds", "repaired"),
    [
        ("variable rate from anywhere", [5000, 5010, 5500, 5540], [0, 0.01, 0.5, 0.54], 0),
        ("none at all", [None, None, None], [0, 0.04, 0.08], 3),
        ("one missing", [0, None, 80], [0, 0.04, 0.08], 1),
        ("late beginning", [None, 700, 740], [0, 0.04, 0.08], 1),
        ("one repeated does not push the next", [0, 40, 40, 80], [0, 0.04, 0.06, 0.08], 1),
        ("a little backward", [0, 40, 20, 80], [0, 0.04, 0.06, 0.08], 1),
        ("a splice keeps its own steps", [0, 9000, 0, 200, 210], [0, 9, 9.04, 9.24, 9.25], 1),
    ],
)
def test_times_increase_and_stay_correct(
    case: str, stamps: list[int | None], seconds: list[float], repaired: int
) -> None:
    clock = FrameClock(MILLISECOND, 0.04)
    assert [clock.time(stamp) for stamp in stamps] == pytest.approx(seconds), case
    assert clock.repaired == repaired


def test_an_explicit_origin_is_zero() -> None:
    clock = FrameClock(MILLISECOND, 0.04, origin=1000)
    assert clock.time(3000) == pytest.approx(2.0)


def test_times_increase_even_where_a_step_is_lost_in_rounding() -> None:
    clock = FrameClock(MILLISECOND, 0.04)
    times = [clock.time(stamp) for stamp in (0, 10**20, 10**20, None)]
    assert times == sorted(set(times))
