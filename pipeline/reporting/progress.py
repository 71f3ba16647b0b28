"""Progress of long runs: a progress bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from pose_extraction.networks.download import Progress as ProgressCallback
from pose_extraction.networks.model_zoo import ModelEntry

# Seconds between two plain lines; rare enough for the logs of runs that last days.
LINE_INTERVAL = 10.0


class RunProgress:
    """Context manager that shows processed videos, frames per second and remaining time.

    Args:
        total: Number of videos to process.
        console: Console for the output.
        size: Sum of the sizes of the videos, in any unit; None if each video counts equally.
    """

    def __init__(self, total: int, console: Console, *, size: float | None = None) -> None:
        self._total = total
        self._size = total if size is None else size
        self._size_done = 0.0
        self._console = console
        self._started = monotonic()
        self._last_line = self._started
        self._videos = 0
        self._frames = 0
        self._bar = Progress(
            TextColumn("[bold]videos"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("videos", total=total, rate="", left="")

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def frame(self) -> None:
        """Counts a processed frame."""
        self._frames += 1
        if self._frames % 16 == 0:
            self._show()

    def video(self, size: float = 1.0) -> None:
        """Counts a processed video, whether it succeeded or failed.

        Args:
            size: Its size, by which the remaining time is estimated.
        """
        self._videos += 1
        self._size_done += size
        self._show()

    def say(self, text: str, style: str | None = None) -> None:
        """Prints a line above the progress bar."""
        self._console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    def rate(self) -> float:
        """Frames per second since the start."""
        return self._frames / max(monotonic() - self._started, 1e-9)

    def _show(self) -> None:
        elapsed = monotonic() - self._started
        left = elapsed / self._size_done * max(0.0, self._size - self._size_done) if self._size_done else None
        left_text = f"{_clock(left)} left" if left is not None else ""
        rate = f"{self.rate():.1f} frames/s"
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._videos, rate=rate, left=left_text)
        elif monotonic() - self._last_line >= LINE_INTERVAL:
            self._last_line = monotonic()
            self.say(f"{self._videos} of {self._total} videos, {rate}{', ' + left_text if left_text else ''}")


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"


@contextmanager
def progress_bar(console: Console, clips: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal, and nothing elsewhere; yields a function that advances it by N clips."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("clips", total=clips)
        yield lambda done: progress.advance(task, done)


@contextmanager
def download_progress(entry: ModelEntry, console: Console | None = None) -> Iterator[ProgressCallback]:
    """Shows a progress bar for `pose_extraction.networks.weights.resolve` and removes it after the download.

    Nothing is shown before the first byte count arrives, and therefore nothing for cached weights. If the console is
    not a terminal, one line is printed when a download starts.

    Args:
        entry: The model to download.
        console: Console for the bar; standard error if None.

    Yields:
        Callback that takes the number of downloaded bytes and the total number, if known.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(entry.filename, visible=False, total=None)
        announced = False

        def show(done: int, total: int | None) -> None:
            nonlocal announced
            if not announced and not console.is_terminal:
                source = entry.url or f"the package {entry.filename}, for its networks"
                console.print(f"downloading {source}", soft_wrap=True)
            announced = True
            bar.update(task, completed=done, total=total, visible=True)

        yield show
