"""What actors report to the driver: small objects, never data."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Ready:
    """An actor that can take tasks.

    Args:
        node: Name of its machine.
        node_id: Ray's id of the node.
        tasks_at_once: Number of tasks that it should have at a time, so that it never waits for the driver.
    """

    node: str
    node_id: str
    tasks_at_once: int


@dataclass(frozen=True)
class Status:
    """What an actor does now.

    Args:
        done: Number of units of work (such as frames) that it has processed since its start.
        quiet: Seconds since it last made progress.
        duration: Seconds in addition to the usual patience after which it counts as hanging.
    """

    done: int
    quiet: float
    duration: float


class Answer(Protocol):
    """The end of one task."""

    @property
    def done(self) -> int:
        """Number of units of work that the actor has processed since its start."""
        ...

    @property
    def failure(self) -> str | None:
        """Why the attempt failed and is repeated on another actor; None if the task has ended."""
        ...
