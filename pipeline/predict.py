"""`skelpipe predict`: from videos, skeletons, a camera or a stream to actions."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pipeline.answers import Answer
from pipeline.evaluate import Engine
from pipeline.inputs import VIDEO_SUFFIXES, Inputs, Source, survey
from pipeline.predict_live import predict_live
from pipeline.predict_networks import Networks, open_networks
from pipeline.predict_skeletons import Part, asker_of, predict_skeletons
from pipeline.predict_video import Wanted, predict_videos
from pipeline.sliding import Scope
from pose_extraction.errors import UsageError
from pose_extraction.live_source import is_live
from recognition.asking import clips_in_memory
from recognition.prediction import check_layout
from recognition.protocols.detector import Detector, detector_file, load_detector
from recognition.runs import Trained, is_encoder, load_run, newest_run

SKELETONS = ".pkl"


def scope_of(
    *,
    per_person: bool | None,
    windows: float | None,
    overlay: Path | None,
    explain: bool,
    threshold: float,
) -> Scope:
    """Of whom is asked, given what was asked for.

    A clip is answered as a whole, and its persons besides if they are wanted or drawn. Windows are answered person by
    person, or else for all together.

    Raises:
        UsageError: A number is out of range.
    """
    if windows is not None and not (math.isfinite(windows) and windows > 0):
        raise UsageError(f"windows of {windows} s: give a number of seconds above 0, such as --windows 3")
    if not 0 <= threshold <= 1:
        raise UsageError(f"a threshold of {threshold}: give a probability from 0 to 1, such as --threshold 0.5")
    if windows is not None:
        return Scope(per_person is False, per_person is not False, explain, threshold)
    return Scope(True, bool(per_person) or (overlay is not None and per_person is None), explain, threshold)


def predict(
    given: Sequence[str | Path],
    run: Path | None,
    wanted: Wanted,
    *,
    networks: Networks | None = None,
    engine: Engine | None = None,
    part: Part | None = None,
    console: Console,
) -> Iterator[Answer]:
    """What clips are taken for, each answer as soon as it is certain.

    Args:
        given: Videos, folders and patterns of them, and skeleton files; or one camera or stream.
        run: Run directory, or one of its .pt files; None for the newest run.
        wanted: What is wanted of each clip.
        networks: Of stage one.
        engine: How stage two's network is run; its device, backend and precision are stage one's, too.
        part: Which clips of skeleton files.
        console: Where progress and warnings are told.

    Raises:
        UsageError: There is no run, nothing to answer for, or what was asked for contradicts itself or the run.
        WeightsError: The run, or a network of stage one, cannot be read.
        BackendError: It cannot run as asked on this machine.
        AnnotationError: A skeleton file is malformed.
        VideoError: A camera or a stream cannot be read.
    """
    networks, engine, part = networks or Networks(), engine or Engine(), part or Part()
    live = [str(word) for word in given if is_live(str(word))]
    skeletons = [Path(word) for word in given if str(word) not in live and Path(word).suffix == SKELETONS]
    videos = [word for word in given if str(word) not in live and Path(word) not in skeletons]
    _refuse_contradictions(live, skeletons, videos, wanted, part)
    found = survey(videos) if videos else Inputs()
    sources = found.sources
    _refuse_overlay(sources, wanted)
    trained = _network(run if run is not None else _newest(console), wanted, console)
    for folder, reason in found.unreadable:
        yield Answer(str(folder), reason=f"cannot be listed ({reason}); check its rights", failed=True)
    for path in skeletons:
        yield from predict_skeletons(path, trained, engine, part, wanted, console)
    if not sources and not live:
        return
    place = Path(live[0] if live else sources[0].path)
    check_layout(trained, clips_in_memory([], path=place, score_threshold=0))
    extractor, stride = open_networks(trained, networks, engine, console, at_once=bool(live))
    asker = asker_of(trained, engine)
    if live:
        yield from predict_live(live[0], extractor, asker, wanted, console, stride=stride)
    else:
        yield from predict_videos(sources, extractor, asker, wanted, console, stride=stride)


def _newest(console: Console) -> Path:
    """The newest run that tells actions; that a newer one does not is said.

    Raises:
        UsageError: There is none.
    """
    newest = newest_run()
    if _tells_actions(newest):
        return newest
    try:
        found = newest_run(wanted=_tells_actions)
    except UsageError:
        # Its own error says what can be made of it.
        return newest
    console.print(Text(f"note: asking {found}, because {newest} is a pre-trained encoder"))
    return found


def _tells_actions(run: Path) -> bool:
    return not is_encoder(run) or detector_file(run) is not None


def _network(run: Path, wanted: Wanted, console: Console) -> Trained | Detector:
    """A run's recognizer; of a pre-trained encoder, the detector that was made of it.

    Raises:
        UsageError: It is a detector, and asked for what is no window; or it has no attention to explain by.
        WeightsError: There is none, or it is damaged.
    """
    found = detector_file(run)
    if found is None:
        trained = load_run(run)
        if wanted.scope.explain and not trained.recognizer.backbone.knows_attention:
            raise UsageError(
                f"--explain: {trained.path} is of {trained.settings.model.backbone}, which has no attention to tell; "
                "leave it out, or ask a run of dstformer, transformer or sttformer"
            )
        return trained
    detector = load_detector(found)
    if wanted.windows is None:
        known = "" if detector.seconds is None else f"; it was trained on {detector.seconds:.2g}"
        raise UsageError(
            f"{found}: tells what is done when; say with --windows how many seconds it is to see at once{known}"
        )
    if wanted.scope.explain:
        raise UsageError(f"--explain: {found} classifies frames, and has no attention to tell; leave it out")
    note = detector.told_of_length(wanted.windows)
    if note is not None:
        console.print(Text(f"warning: {note}"))
    return detector


def _refuse_contradictions(
    live: Sequence[str], skeletons: Sequence[Path], videos: Sequence[str | Path], wanted: Wanted, part: Part
) -> None:
    if not (live or skeletons or videos):
        raise UsageError("nothing to answer for: give videos, a folder, a skeleton file, a camera (0) or an address")
    if live and (len(live) > 1 or skeletons or videos):
        raise UsageError(f"{live[0]}: a camera or a stream is watched alone; give the others to a command of their own")
    for path in skeletons:
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file; make one with `skelpipe extract VIDEOS`")
    if skeletons and wanted.overlay is not None:
        raise UsageError(f"--overlay {wanted.overlay}: {skeletons[0]} has no pictures; give predict the video itself")
    if not skeletons and (part.split is not None or part.keypoint_files is not None):
        raise UsageError("--split and --keypoint-files are for skeleton files (*.pkl), and none was given")
    if live and wanted.scope.explain:
        raise UsageError(f"--explain: is for files, and {live[0]} is watched as it comes; record it first")
    if live and wanted.overlay is not None and wanted.overlay.suffix.lower() != ".mp4":
        raise UsageError(f"--overlay {wanted.overlay}: give a file *.mp4 for the overlay of a stream")


def _refuse_overlay(sources: Sequence[Source], wanted: Wanted) -> None:
    overlay = wanted.overlay
    if overlay is None:
        return
    suffix = overlay.suffix.lower()
    if suffix in VIDEO_SUFFIXES - {".mp4"}:
        raise UsageError(f"--overlay {overlay}: overlays are written as *.mp4; name it {overlay.with_suffix('.mp4')}")
    if suffix == ".mp4" and len(sources) > 1:
        raise UsageError(f"--overlay {overlay}: is one file, and {len(sources)} videos were given; name a folder")
    for source in sources:
        path = wanted.overlay_of(source)
        if path is not None and path.exists() and path.samefile(source.path):
            raise UsageError(f"--overlay {path}: would take the place of the video itself; name another file or folder")
