"""Convert time stamps into strictly increasing seconds since the first frame of a stream.

Time stamps in real files can be missing (raw streams), repeat (faulty muxers), run backwards (spliced files) or start
at any value. Poses need strictly increasing times, because speeds are computed by dividing by time differences.
"""

import math
from fractions import Fraction

# Time stamps that run back by less than this are jitter; otherwise, the stream has been spliced.
NEW_COUNT_SECONDS = 1.0
# A step longer than both limits (seconds and nominal steps) is a gap, even at a variable frame rate.
HOLE_SECONDS, HOLE_STEPS = 0.5, 10


class FrameClock:
    """Converts the time stamps of consecutive frames into strictly increasing seconds.

    Args:
        time_base: Seconds per unit of the time stamps.
        step: Nominal seconds between frames, used where a time stamp is missing.
        origin: Time stamp that corresponds to 0 s; None uses the first one.

    Attributes:
        repaired: Number of time stamps that were missing or not increasing.
        holes: (start, end) in seconds of the gaps without frames.
    """

    def __init__(self, time_base: Fraction, step: float, origin: int | None = None) -> None:
        self.time_base = time_base
        self.step = step
        self.repaired = 0
        self.holes: list[tuple[float, float]] = []
        self._origin = origin
        self._offset = 0.0
        self._last: float | None = None

    def time(self, stamp: int | None) -> float:
        """Return the time of the next frame, and update `repaired` and `holes`.

        Args:
            stamp: Time stamp of the frame in units of `time_base`; None if missing.

        Returns:
            Seconds, always greater than for the previous frame.
        """
        if stamp is not None and self._origin is None:
            # Frames without a time stamp may precede this one.
            self._origin = stamp
            self._offset = 0.0 if self._last is None else self._last + self.step
        if stamp is None or self._origin is None:
            self.repaired += 1
            return self.tick()
        seconds = float((stamp - self._origin) * self.time_base) + self._offset
        if self._last is not None and seconds <= self._last:
            seconds = self._repaired_time(seconds, self._last)
        if self._last is not None and seconds - self._last > max(HOLE_SECONDS, HOLE_STEPS * self.step):
            self.holes.append((self._last, seconds))
        self._last = seconds
        return seconds

    def tick(self) -> float:
        """Return the time in seconds of a frame that is known to follow after one nominal step."""
        self._last = 0.0 if self._last is None else _later(self._last, self.step)
        return self._last

    def _repaired_time(self, seconds: float, last: float) -> float:
        self.repaired += 1
        if last - seconds > NEW_COUNT_SECONDS:
            self._offset += last + self.step - seconds
            return _later(last, self.step)
        # Half a step leaves room for the next valid time stamp, so that a repeated one does not shift all later ones.
        return _later(last, self.step / 2)


def _later(last: float, step: float) -> float:
    """Return the time after a step, which is later than `last` even if the step is lost in rounding."""
    return max(last + step, math.nextafter(last, math.inf))
