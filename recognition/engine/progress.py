"""Progress of a training on standard error: a bar on a terminal, plain lines elsewhere."""

from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

# Seconds between two plain lines within an epoch; keeps the logs of long runs short.
LINE_INTERVAL = 30.0


class TrainingProgress:
    """Context manager that shows epoch, loss, learning rate, clips per second and remaining time.

    Args:
        work: Steps of the run, in units of a step of phase one.
        done: Steps that earlier parts of the run have completed, in the same unit.
        show: Whether to print anything.
    """

    def __init__(self, work: float, *, done: float, show: bool) -> None:
        self._console = Console(stderr=True, quiet=not show)
        self._work, self._done, self._before = work, done, done
        self._started = self._last_line = monotonic()
        self._clips = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not (show and self._console.is_terminal),
        )
        self._task = self._bar.add_task("", total=work, state="")

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, heading: str, *, work: float, clips: int, loss: float, learning_rate: float) -> None:
        """Report one completed step.

        Args:
            heading: Description of the current epoch.
            work: Cost of the step, in units of a step of phase one.
            clips: Number of clips in the step.
            loss: Total loss.
            learning_rate: Learning rate of the backbone.
        """
        self._done += work
        self._clips += clips
        state = f"loss {loss:.4f}, lr {learning_rate:.2e}, {self.rate():.1f} clips/s, {self._left()} left"
        self._bar.update(self._task, description=heading, completed=self._done, state=state)
        if not self._console.is_terminal and monotonic() - self._last_line >= LINE_INTERVAL:
            self.say(f"{heading}: {state}")

    def say(self, text: str) -> None:
        """Print a line that stays visible above the bar."""
        self._last_line = monotonic()
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def rate(self) -> float:
        """Return the mean number of clips per second since the start."""
        return self._clips / max(monotonic() - self._started, 1e-9)

    def _left(self) -> str:
        made = self._done - self._before
        seconds = (monotonic() - self._started) / made * (self._work - self._done) if made else 0.0
        minutes, second = divmod(int(seconds), 60)
        hours, minute = divmod(minutes, 60)
        return f"{hours}:{minute:02d}:{second:02d}"
