"""Videos on their way through a device, and what becomes of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipeline.extract.pieces import Piece, name_of_work
from pipeline.extract.results.finished import Finished
from pipeline.inputs.copies import Copies
from pipeline.inputs.videos import Source
from pose_extraction.video.decoding import VideoJob


@dataclass(frozen=True)
class Outcome:
    """Outcome of one video.

    Args:
        source: The video.
        error: Why there is no result; None on success.
        problems: Limitations of the result, one sentence each.
        persons: Maximum number of persons in one of its clips.
        frames: Number of sampled frames in the video or piece; 0 if nothing was written.
        withdrawn: Whether the outdated result of an earlier run was removed because the video has changed.
        work: What was processed, see `name_of_work`; empty for the video as a whole.
        is_part: Whether it was one of several pieces, and others are missing, so that the video is not done yet.
        digest: Digest of the result; None if nothing was written.
        seconds: Seconds spent in "decoding", "cleaning" and "writing".
        finished: How a later run recognises the result; None if nothing was written.
    """

    source: Source
    error: str | None = None
    problems: tuple[str, ...] = ()
    persons: int = 0
    frames: int = 0
    withdrawn: bool = False
    work: str = ""
    is_part: bool = False
    digest: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    finished: Finished | None = None


@dataclass(eq=False, kw_only=True)
class ExtractionJob(VideoJob):
    """A video to extract.

    Args:
        source: The video.
        digest: Digest of its result; None if the video cannot be read.
        state: `video_state` before the video was read.
        copies: Makes a copy of the video at `path`, if it is at a URL.
        on_copy: Called for each chunk that is copied from or to a URL.
        draws: Whether the video is read again for an overlay.
        piece: The piece that is extracted; None for the whole video.
    """

    source: Source
    digest: str | None
    state: str | None
    copies: Copies
    on_copy: Callable[[], None]
    draws: bool
    piece: Piece | None = None

    @property
    def name(self) -> str:
        """Name that is unique within a run; see `name_of_work`."""
        return name_of_work(self.piece or self.source)

    def prepare(self) -> None:
        """Copies a video that is at a URL."""
        self.copies.fetch(self.source, self.path, self.on_copy)

    def release(self) -> None:
        """Removes the copy, unless an overlay will be drawn from it."""
        if self.draws:
            self.copies.keep(self.source, self.path)
        else:
            self.copies.remove(self.source, self.path)
