"""What actors report to the driver: small objects, never frames or poses."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.extract.device import Outcome

# Stages of a video, in order.
STAGES = ("decoding", "networks", "cleaning", "writing")


@dataclass(frozen=True)
class Ready:
    """An actor that has loaded its networks.

    Args:
        node: Name of its machine.
        node_id: Ray's id of the node.
        videos_at_once: Number of videos that it should have at a time, so that decoding never waits for the driver.
    """

    node: str
    node_id: str
    videos_at_once: int


@dataclass(frozen=True)
class Receipt:
    """The end of one video.

    Args:
        outcome: See `Outcome`.
        seconds: Seconds spent in each of `STAGES`. Networks process frames of several videos together; their time
            counts for the video that ends next.
        elapsed: Seconds from the first frame to the written file.
        frames: Number of frames that the actor has processed since its start.
        peak_memory: Maximum memory of the actor so far, in bytes.
        node: Name of the machine.
    """

    outcome: "Outcome"
    seconds: dict[str, float]
    elapsed: float
    frames: int
    peak_memory: int
    node: str


@dataclass(frozen=True)
class Status:
    """What an actor does now.

    Args:
        frames: Number of frames that it has processed since its start.
        quiet: Seconds since a frame was processed, or a video began or ended.
        duration: Longest duration in seconds of the videos that have begun; 0 if unknown.
    """

    frames: int
    quiet: float
    duration: float
