"""`skelpipe extract --chunk`: a long video in pieces, which several processes extract and a killed run keeps.

Only the networks work on pieces. Each piece starts with a frame in which the single pass would detect persons, too, and
find them afresh if the estimator follows persons, so its raw poses are the same. They are stored in one file for each
piece; when all are there, one process reads them in order, tracks persons through the whole video, and writes the same
result as without pieces.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.extract.plan import ExtractionPlan
from pipeline.extract.results.finished import video_state
from pipeline.inputs.videos import Source
from pose_extraction.errors import SkelpipeError, VideoError
from pose_extraction.extraction import ExtractionSettings
from pose_extraction.formats.annotations import pack_raw, unpack_raw
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.networks.names import is_blazepose
from pose_extraction.poses import FramePoses
from pose_extraction.queues import map_ahead
from pose_extraction.streaming.key_frames import key_frames
from pose_extraction.streaming.regions import restarts
from pose_extraction.tracking.raw_poses import RawPoses
from pose_extraction.video.reader import VideoInfo, claimed_seconds, frame_times

# A shorter video is not cut, as a multiple of the length of a piece.
LEAST_CHUNKS = 1.5
# Number of videos whose indexes are read at once: storage on a network answers many questions as fast as one.
INDEXED_AT_ONCE = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """A piece of a video.

    Args:
        source: The video.
        digest: Digest of its result.
        state: `video_state` before the digest was computed.
        number: Number of the piece, from 0.
        count: Number of pieces of the video.
        start: Seconds at which decoding starts; None for the beginning.
        end: Seconds at which decoding ends; None for the end.
        first: Number of the first frame whose poses count.
        stop: Number of the first frame of the next piece; None in the last piece.
        after_first: Seconds at which decoding ends if only one frame is wanted; None for the end.
        joins: Whether all pieces are stored, so that they only have to be joined.
    """

    source: Source
    digest: str
    state: str | None
    number: int
    count: int
    start: float | None
    end: float | None
    first: int
    stop: int | None
    after_first: float | None = None
    joins: bool = False

    def joining(self) -> "Piece":
        """Return the work that is left when all pieces are stored. One frame is decoded, because each job has some."""
        return replace(self, end=self.after_first, joins=True)

    def siblings(self, plan: ExtractionPlan) -> list[Path]:
        """Return the files of all pieces of the video, in order."""
        path = plan.file_of(self.source)
        # Hidden, so that they are not merged.
        return [path.with_name(f".{path.name}.{number}-of-{self.count}.piece") for number in range(self.count)]


Work = Source | Piece


def name_of_work(work: Work) -> str:
    """Return a name that is unique within a run."""
    return work.relative if isinstance(work, Source) else f"{work.source.relative}#{work.number}"


def in_pieces(plan: ExtractionPlan, sources: Sequence[Source], *, overwrite: bool) -> Iterator[Work]:
    """Yield the videos, long ones in pieces; pieces that an earlier run has stored are left out.

    Args:
        plan: See `ExtractionPlan`.
        sources: The videos.
        overwrite: Whether stored pieces are extracted again.
    """
    seconds = plan.settings.chunk
    if seconds is None:
        yield from sources
        return

    def open_pieces(source: Source) -> list[Work]:
        pieces = _pieces_of(plan, source, seconds)
        if not pieces:
            return [source]
        if overwrite:
            # Otherwise the first new piece would be joined with the rest of the old ones.
            remove_pieces(plan, pieces[0])
        missing = [piece for piece in pieces if _stored(plan, piece) is None]
        return list(missing or [pieces[0].joining()])

    with closing(map_ahead(open_pieces, sources, workers=INDEXED_AT_ONCE, name="indexing")) as every:
        for works in every:
            yield from works


def left_to_join(plan: ExtractionPlan, sources: Iterable[Source]) -> Iterator[Work]:
    """Yield the work that is left of videos whose pieces are all stored.

    On storage on a network, a process may see a file of another one late. If the last two pieces of a video end at the
    same time on two machines, neither may find that the video is complete.

    Args:
        plan: See `ExtractionPlan`.
        sources: Videos that were extracted in pieces, and are not done.
    """
    for source in sources:
        # Reading the folder makes files of other machines visible.
        names = {path.name for path in plan.file_of(source).parent.iterdir()}
        pieces = _pieces_of(plan, source, plan.settings.chunk or 0)
        if pieces and all(path.name in names for path in pieces[0].siblings(plan)):
            yield pieces[0].joining()


def _pieces_of(plan: ExtractionPlan, source: Source, seconds: float) -> list[Piece]:
    """Return the pieces of a video; none if it is short, or if its frames cannot be numbered without decoding."""
    try:
        claimed = claimed_seconds(source.path, stream=plan.settings.stream)
        if claimed is not None and claimed < LEAST_CHUNKS * seconds:
            return []
        times = frame_times(source.path, fps=plan.settings.fps, stream=plan.settings.stream)
        state = video_state(source)
        digest = plan.digest_of(source)
    except (VideoError, OSError):
        # Reported when it is decoded.
        return []
    start, end = plan.span_of(source)
    if not times:
        log.info("%s: not cut into pieces, because its frames cannot be numbered without decoding", source.path)
        return []
    every = [index for index, time in enumerate(times) if time >= (start or 0) and (end is None or time < end)]
    sampled = every[:: plan.settings.stride]
    follows = is_blazepose(plan.settings.estimator)
    bounds = piece_bounds([times[index] for index in sampled], plan.extraction(), seconds, follows=follows)
    if len(bounds) < 2:
        return []
    pieces = []
    for number, ((begin, first), (_, stop)) in enumerate(pairwise([*bounds, (len(sampled), len(sampled))])):
        is_last = number == len(bounds) - 1
        pieces.append(
            Piece(
                source,
                digest,
                state,
                number,
                len(bounds),
                # Halfway between two frames, so that rounding cannot move the cut.
                _before(times, sampled[begin]) if begin else start,
                # The first frame of the next piece is the last one here: boxes are interpolated up to it.
                end if is_last else _before(times, sampled[stop] + 1),
                sampled[first],
                None if is_last else sampled[stop],
                _before(times, sampled[begin] + 1),
            )
        )
    return pieces


def piece_bounds(
    times: Sequence[float], settings: ExtractionSettings, seconds: float, *, follows: bool = False
) -> list[tuple[int, int]]:
    """Return where pieces begin: at the first possible frame after each `seconds`, the first piece at 0.

    Args:
        times: Times in seconds of the sampled frames.
        settings: Decide which frames are key frames.
        seconds: Least length of a piece; the last one may be half as long.
        follows: Whether the estimator follows persons from frame to frame.

    Returns:
        (first frame to process, first frame whose poses count) of each piece. The second is a key frame, or follows
        from the first as `restarts` says.
    """
    bounds = [(0, 0)] if len(times) else []
    possible = (
        restarts(times, settings.is_key) if follows else ((key, key) for key in key_frames(times, settings.is_key))
    )
    for begin, first in possible:
        if times[first] - times[bounds[-1][1]] >= seconds and times[-1] - times[first] >= (LEAST_CHUNKS - 1) * seconds:
            bounds.append((begin, first))
    return bounds


def _before(times: Sequence[float], index: int) -> float | None:
    return (times[index - 1] + times[index]) / 2 if index < len(times) else None


def store_piece(
    plan: ExtractionPlan, piece: Piece, frames: Collection[FramePoses], info: VideoInfo, problems: Sequence[str]
) -> bool:
    """Write the raw poses of a piece.

    Args:
        plan: See `ExtractionPlan`.
        piece: The piece.
        frames: Raw poses of its frames, also of those around it.
        info: Properties of the video.
        problems: Notes on the video.

    Returns:
        Whether all pieces of the video are stored now.
    """
    own = [frame for frame in frames if frame.frame_index >= piece.first]
    own = [frame for frame in own if piece.stop is None or frame.frame_index < piece.stop]
    content = {
        "digest": _digest(piece),
        "size": tuple(info.size),
        "problems": [str(problem) for problem in problems],
        "raw": pack_raw(own),
    }
    paths = piece.siblings(plan)
    write_pickle(paths[piece.number], content)
    return all(path.is_file() for path in paths)


def join_pieces(plan: ExtractionPlan, piece: Piece) -> tuple[RawPoses, list[str]] | None:
    """Read the raw poses of all pieces of a video.

    Args:
        plan: See `ExtractionPlan`.
        piece: Any piece of the video.

    Returns:
        Raw poses of all sampled frames, and the notes on the video; None if another process has joined the pieces.

    Raises:
        SkelpipeError: The frames of the pieces differ in size.
    """
    frames = RawPoses()
    problems: list[str] = []
    sizes = set()
    for number in range(piece.count):
        stored = _stored(plan, piece, number)
        if stored is None:
            return None
        for frame in unpack_raw(stored["raw"]):
            frames.append(frame)
        problems += stored["problems"]
        sizes.add(stored["size"])
    if len(sizes) > 1:
        raise SkelpipeError(f"{piece.source.path}: the frame size changes between pieces; extract it without --chunk")
    return frames, list(dict.fromkeys(problems))


def remove_pieces(plan: ExtractionPlan, piece: Piece) -> None:
    """Remove the files of all pieces of a video."""
    for path in piece.siblings(plan):
        path.unlink(missing_ok=True)


def remove_pieces_of(plan: ExtractionPlan, source: Source) -> None:
    """Remove the files of all pieces of a video; nothing if it is not cut."""
    for piece in _pieces_of(plan, source, plan.settings.chunk or 0)[:1]:
        remove_pieces(plan, piece)


def _stored(plan: ExtractionPlan, piece: Piece, number: int | None = None) -> dict[str, Any] | None:
    """Return the stored content of a piece; None if there is none, or one of other settings or another video."""
    path = piece.siblings(plan)[piece.number if number is None else number]
    try:
        content = read_pickle(path) if path.is_file() else {}
    except SkelpipeError:
        return None
    return content if content.get("digest") == _digest(piece) else None


def _digest(piece: Piece) -> str:
    return f"{piece.digest}-{piece.count}"
