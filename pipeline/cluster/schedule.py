"""The order of tasks, and what happens to those that fail. Pure decisions; knows nothing of Ray."""

from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

# How an attempt can fail: with an error message; the actor's process ended; nothing happened for too long.
Kind = Literal["error", "killed", "hung"]
# Number of attempts of a task, each on another actor. A second stall is waited for once only, because it takes minutes
# in which the actor does nothing.
MOST_ATTEMPTS, MOST_STALLS = 3, 2
# Number of actors that may become unreachable with a task before the task counts as the cause. Ray reports the death of
# an actor's process in the same way if it learns of it too late.
MOST_LOST = 5


@dataclass(eq=False)
class Task:
    """What one actor does at a time: a video, a piece of one, or another job.

    Args:
        work: The video, piece or job.
        name: Name that is unique within a run.
        size: Its size, such as bytes, more than 0.
        failures: Number of failed attempts by kind.
        tried: Names of the actors that have failed on it.
        lost: Number of actors that could not be reached while they did it.
    """

    work: Any
    name: str
    size: float
    failures: Counter[Kind] = field(default_factory=Counter)
    tried: set[str] = field(default_factory=set)
    lost: int = 0

    @property
    def alone(self) -> bool:
        """Whether an actor must not do other tasks at the same time."""
        return bool(self.failures)


class Schedule:
    """Hands out the largest tasks first, so that no actor works long after the others; failed ones at the end.

    A task that has failed is tried again on another actor, by itself: if that actor dies or hangs as well, this task is
    the cause. Until then, the tasks that shared an actor are all suspects.

    Args:
        tasks: The tasks, in any order.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._first = deque(sorted(tasks, key=lambda task: -task.size))
        self._again: deque[Task] = deque()

    def __len__(self) -> int:
        """Number of tasks that are waiting."""
        return len(self._first) + len(self._again)

    def next_for(self, actor: str, actors: Collection[str], running: Collection[Task]) -> Task | None:
        """Return the next task for an actor; None if there is none for it now.

        Args:
            actor: Its name.
            actors: Names of all actors that can take tasks.
            running: Tasks that it does now.
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
        """Takes back a task whose node has gone, which is not its fault."""
        (self._again if task.alone else self._first).appendleft(task)

    def lost(self, task: Task, actor: str) -> bool:
        """Takes back a task whose actor cannot be reached; returns whether the task is tried again.

        Args:
            task: The task.
            actor: Name of the actor.
        """
        task.lost += 1
        if task.lost >= MOST_LOST:
            return self.failed(task, "killed", actor)
        self.give_back(task)
        return True

    def failed(self, task: Task, kind: Kind, actor: str) -> bool:
        """Notes a failed attempt; returns whether the task is tried again.

        Args:
            task: The task.
            kind: How it failed.
            actor: Name of the actor.
        """
        task.failures[kind] += 1
        task.tried.add(actor)
        if task.failures.total() >= MOST_ATTEMPTS or task.failures["hung"] >= MOST_STALLS:
            return False
        self._again.append(task)
        return True
