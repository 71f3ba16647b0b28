"""Which frames of a video the detector sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# Returns whether a frame is a key frame. Called with the times in seconds of the last key frame of the video, the
# frames since then, and the current frame: at least two times.
KeyRule = Callable[[Sequence[float]], bool]

# Maximum number of frames between key frames of a video. They stay in memory: 32 frames of 1080p are 200 MB.
MOST_BETWEEN = 32


@dataclass(eq=False)
class KeyClock:
    """Selects the key frames of a video, one frame after the other. The first frame is one.

    Args:
        is_key: Selects the others.
        most_between: A frame that follows as many without a key frame is one, too; None: any number.
    """

    is_key: KeyRule
    most_between: int | None = MOST_BETWEEN
    _times: list[float] = field(default_factory=list)

    def add(self, time: float) -> bool:
        """Take the time in seconds of the next frame; return whether it is a key frame."""
        self._times.append(time)
        between = len(self._times) - 2
        is_due = self.most_between is not None and between >= self.most_between
        found = between < 0 or is_due or self.is_key(self._times)
        if found:
            self._times = [time]
        return found


def key_frames(times: Sequence[float], is_key: KeyRule) -> list[int]:
    """Return which frames of a video are key frames, apart from the last one; see `detect_persons`.

    Args:
        times: Times in seconds of the frames of a video.
        is_key: See `KeyRule`.
    """
    clock = KeyClock(is_key)
    return [index for index, time in enumerate(times) if clock.add(time)]
