"""The seconds that each stage takes, and what identifies a video in all of them."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

Video = TypeVar("Video", bound=Hashable)


@dataclass
class StageTimes:
    """Seconds spent in each stage, for benchmarks and `--verbose`; stages can overlap."""

    detect: float = 0.0
    crop: float = 0.0
    network: float = 0.0
    decode: float = 0.0
