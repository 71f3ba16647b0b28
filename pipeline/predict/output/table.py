"""The formats of `skelpipe predict --format`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.predict.answers import Answer
from pipeline.predict.output.annotation_tools import as_cvat, as_labelstudio
from pipeline.predict.output.elan import as_elan
from pipeline.predict.output.frames import ClipFrames
from pipeline.predict.output.subtitles import as_srt, as_webvtt
from pipeline.predict.output.tables import as_boris
from pose_extraction.errors import UsageError

# Written line by line while predictions arrive.
LINES = ("json", "csv")


@dataclass(frozen=True)
class ClipFormat:
    """A format with one file per clip.

    Args:
        suffix: Suffix of the files.
        text: Makes the text of a clip from its id, its predictions and its frames.
    """

    suffix: str
    text: Callable[[str, Sequence[Answer], ClipFrames | None], str]


@dataclass(frozen=True)
class SetFormat:
    """A format with one file for all clips.

    Args:
        suffix: Suffix of the file.
        text: Makes the text from the predictions and the frames by id of the clip.
    """

    suffix: str
    text: Callable[[Mapping[str, Sequence[Answer]], Mapping[str, ClipFrames]], str]


FORMATS: dict[str, ClipFormat | SetFormat] = {
    "elan": ClipFormat(".eaf", as_elan),
    "cvat": ClipFormat(".xml", as_cvat),
    "webvtt": ClipFormat(".vtt", as_webvtt),
    "srt": ClipFormat(".srt", as_srt),
    "boris": SetFormat(".tsv", as_boris),
    "labelstudio": SetFormat(".json", as_labelstudio),
}


def check_format(name: str | None) -> None:
    """Check the option `--format`.

    Raises:
        UsageError: There is no such format.
    """
    if name is not None and name not in (*FORMATS, *LINES):
        raise UsageError(f"--format {name}: must be one of {', '.join((*LINES, *FORMATS))}")


def texts_of(
    name: str, answers: Sequence[Answer], frames: Mapping[str, ClipFrames], out: Path
) -> Iterator[tuple[Path, str]]:
    """Return path and text of each file to write.

    Args:
        name: A format of FORMATS.
        answers: All predictions.
        frames: Frames by id of the clip.
        out: With a format for single clips, a folder, or a file if it has the format's suffix and there is one clip.
            Otherwise the file.
    """
    by_clip: dict[str, list[Answer]] = {}
    for answer in answers:
        by_clip.setdefault(answer.clip, []).append(answer)
    chosen = FORMATS[name]
    if isinstance(chosen, SetFormat):
        yield out, chosen.text(by_clip, frames)
        return
    is_file = out.suffix.lower() == chosen.suffix
    for clip, of_clip in by_clip.items():
        folder = out.with_suffix("") if is_file else out
        path = out if is_file and len(by_clip) == 1 else folder / _relative(clip, chosen.suffix)
        yield path, chosen.text(clip, of_clip, frames.get(clip))


def _relative(clip: str, suffix: str) -> Path:
    """Return the path of a clip's file; ids that lead out of the folder, or are none, become plain names."""
    parts = [part for part in PurePosixPath(clip).parts if part not in ("/", "..")]
    path = PurePosixPath(*parts) if parts else PurePosixPath("clip")
    return Path(path.with_name(path.name + suffix))
