"""What actors report to the driver about a video: small objects, never frames or poses."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.extract.results.jobs import Outcome

# Stages of a video, in order.
STAGES = ("decoding", "networks", "cleaning", "writing")


@dataclass(frozen=True)
class Receipt:
    """The end of one video.

    Args:
        outcome: See `Outcome`.
        seconds: Seconds spent in each of `STAGES`. Networks process frames of several videos together; their time
            counts for the video that ends next.
        elapsed: Seconds from the first frame to the written file.
        done: Number of frames that the actor has processed since its start.
        peak_memory: Maximum memory of the actor so far, in bytes.
        node: Name of the machine.
    """

    outcome: "Outcome"
    seconds: dict[str, float]
    elapsed: float
    done: int
    peak_memory: int
    node: str

    @property
    def failure(self) -> str | None:
        """Why nothing was written; None if there is a result, even if some of its clips have no frames."""
        # The next attempt would not find any frames of these either.
        return self.outcome.error if not self.outcome.frames else None
