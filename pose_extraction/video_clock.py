"""A clock that runs forward: seconds since a stream's first frame, whatever its time stamps do.

Time stamps of real files are missing (raw streams), repeat (bad muxers), run back (spliced files) or begin anywhere.
Poses need times that grow from frame to frame, because speeds are distances divided by their differences.
"""

from fractions import Fraction

# Stamps that run back by less than this are jitter; by more, the stream has started a new count (a splice).
NEW_COUNT_SECONDS = 1.0
# A step longer than both, in seconds and in nominal steps, is a hole: even a variable rate shows a picture sooner.
HOLE_SECONDS, HOLE_STEPS = 0.5, 10


class FrameClock:
    """Turns the time stamps of consecutive frames into strictly growing seconds.

    Args:
        time_base: Seconds per unit of the stamps.
        step: Nominal seconds from frame to frame, used where a stamp is missing.
        origin: Stamp that counts as zero; None takes the first one seen.
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
        """Seconds of the next frame, always later than the frame before it.

        Counts in `repaired` the stamps that it mended, and keeps in `holes` the (from, to) of stretches without frames.
        """
        if stamp is not None and self._origin is None:
            # Frames without a stamp may have come before this one; it follows them.
            self._origin = stamp
            self._offset = 0.0 if self._last is None else self._last + self.step
        if stamp is None or self._origin is None:
            self.repaired += 1
            return self.tick()
        seconds = float((stamp - self._origin) * self.time_base) + self._offset
        if self._last is not None and seconds <= self._last:
            seconds = self._mend(seconds, self._last)
        if self._last is not None and seconds - self._last > max(HOLE_SECONDS, HOLE_STEPS * self.step):
            self.holes.append((self._last, seconds))
        self._last = seconds
        return seconds

    def tick(self) -> float:
        """Seconds of the next frame where it is known to follow by one step."""
        self._last = 0.0 if self._last is None else self._last + self.step
        return self._last

    def _mend(self, seconds: float, last: float) -> float:
        self.repaired += 1
        if last - seconds > NEW_COUNT_SECONDS:
            self._offset += last + self.step - seconds
            return last + self.step
        # Half a step leaves room for the next true stamp, so that one repeated stamp does not push all later ones.
        return last + self.step / 2
