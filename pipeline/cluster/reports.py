"""What the driver reports about a run."""

from typing import Any, Protocol

from pipeline.cluster.schedule import Kind, Task


class Reports(Protocol):
    """Takes the events of a run."""

    def finished(self, task: Task, answer: Any) -> None:
        """Takes the answer of a task that has ended."""
        ...

    def given_up(self, task: Task, kind: Kind, reason: str, answer: Any) -> None:
        """Takes a task that failed for the last time.

        Args:
            task: The task.
            kind: How its last attempt failed.
            reason: Why.
            answer: Answer of the last attempt; None if there was none, because its actor died or hung.
        """
        ...

    def retried(self, kind: Kind) -> None:
        """Takes an attempt that failed and is repeated."""
        ...

    def progress(self, count: int) -> None:
        """Takes units of work that were processed."""
        ...

    def state(self, *, waiting: int, running: int, actors: int) -> None:
        """Takes the present numbers of waiting tasks, tasks in progress and actors."""
        ...

    def actor_ready(self, node: str) -> None:
        """Takes the machine of an actor that can take tasks."""
        ...

    def actor_ended(self, node: str, wall: float, busy: float) -> None:
        """Takes the life of an actor: its machine, seconds since it was ready, seconds in which it had a task."""
        ...

    def say(self, text: str) -> None:
        """Takes a message for the user."""
        ...
