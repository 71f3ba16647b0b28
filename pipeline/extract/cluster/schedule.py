"""The order of the videos, and what happens to those that fail. Pure decisions; knows nothing of Ray."""

from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pipeline.inputs.videos import Source

if TYPE_CHECKING:
    from pipeline.extract.pieces import Work

# How an attempt can fail: with an error message; the actor's process ended; nothing happened for too long.
Kind = Literal["error", "killed", "hung"]
# Number of attempts of a video, each on another actor. A second stall is waited for once only, because it takes minutes
# in which the actor does nothing.
MOST_ATTEMPTS, MOST_STALLS = 3, 2


@dataclass(eq=False)
class Task:
    """A video to extract, or a piece of one.

    Args:
        work: The video or piece.
        source: The video.
        name: See `name_of_work`.
        size: Its size in bytes, more than 0.
        failures: Number of failed attempts by kind.
        tried: Names of the actors that have failed on it.
    """

    work: "Work"
    source: Source
    name: str
    size: float
    failures: Counter[Kind] = field(default_factory=Counter)
    tried: set[str] = field(default_factory=set)

    @property
    def alone(self) -> bool:
        """Whether an actor must not process other videos at the same time."""
        return bool(self.failures)


class Schedule:
    """Hands out the largest videos first, so that no actor works long after the others; failed ones at the end.

    A video that has failed is tried again on another actor, by itself: if that actor dies or hangs as well, this video
    is the cause. Until then, the videos that shared an actor are all suspects.

    Args:
        tasks: The videos, in any order.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._first = deque(sorted(tasks, key=lambda task: -task.size))
        self._again: deque[Task] = deque()

    def __len__(self) -> int:
        """Number of videos that are waiting."""
        return len(self._first) + len(self._again)

    def next_for(self, actor: str, actors: Collection[str], running: Collection[Task]) -> Task | None:
        """Return the next video for an actor; None if there is none for it now.

        Args:
            actor: Its name.
            actors: Names of all actors that can take videos.
            running: Videos that it processes now.
        """
        if any(task.alone for task in running):
            return None
        if self._first:
            return self._first.popleft()
        if running:
            return None
        for task in self._again:
            if actor not in task.tried or task.tried.issuperset(actors):
                self._again.remove(task)
                return task
        return None

    def give_back(self, task: Task) -> None:
        """Takes back a video whose node has gone, which is not its fault."""
        (self._again if task.alone else self._first).appendleft(task)

    def failed(self, task: Task, kind: Kind, actor: str) -> bool:
        """Notes a failed attempt; returns whether the video is tried again.

        Args:
            task: The video.
            kind: How it failed.
            actor: Name of the actor.
        """
        task.failures[kind] += 1
        task.tried.add(actor)
        if task.failures.total() >= MOST_ATTEMPTS or task.failures["hung"] >= MOST_STALLS:
            return False
        self._again.append(task)
        return True
