"""`skelpipe predict`: from videos, skeletons, a camera or a stream to actions."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from pipeline.answers import Answer
from pipeline.evaluate import Engine
from pipeline.extract import identities, parse_devices
from pipeline.extract_device import open_extractor
from pipeline.extract_plan import Plan
from pipeline.inputs import VIDEO_SUFFIXES, Inputs, Source, survey
from pipeline.predict_live import predict_live
from pipeline.predict_skeletons import Part, asker_of, predict_skeletons
from pipeline.predict_video import Wanted, predict_videos
from pipeline.settings import ExtractSettings, parse_settings
from pipeline.sliding import Scope
from pose_extraction import model_zoo
from pose_extraction.errors import UsageError
from pose_extraction.estimators import Identity, display_name, is_bottom_up, is_onnx
from pose_extraction.live_source import is_live
from recognition.asking import clips_in_memory
from recognition.extraction_settings import SHAPING
from recognition.prediction import check_layout
from recognition.protocols.detector import Detector, detector_file, load_detector
from recognition.runs import Trained, is_encoder, load_run, newest_run

if TYPE_CHECKING:
    from pose_extraction.extraction import PoseExtractor

SKELETONS = ".pkl"
DETECTOR = "rtmdet"
# What each kind of network made of a run's videos.
MADE = {"estimator": "skeletons of", "detector": "persons of"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Networks:
    """Stage one's networks; None where the run, or `skelpipe extract`, says which.

    Args:
        estimator: Name or ONNX file; None for the one that the run was trained on.
        detector: The same, of persons; for a run that does not say, `DETECTOR`.
        checkpoint: Weights in place of the official ones.
        detector_checkpoint: The same for the detector.
    """

    estimator: str | None = None
    detector: str | None = None
    checkpoint: str | None = None
    detector_checkpoint: str | None = None


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
    extractor, stride = _extractor(trained, networks, engine, console, at_once=bool(live))
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
        raise UsageError(f"{found}: tells what is done when; say with --windows how many seconds it is to see at once")
    if wanted.scope.explain:
        raise UsageError(f"--explain: {found} classifies frames, and has no attention to tell; leave it out")
    note = detector.told_of_length(wanted.windows)
    if note is not None:
        console.print(Text(f"warning: {note}"))
    return detector


def estimator_for(trained: Trained | Detector, wanted: str | None) -> str:
    """The estimator of a run, unless another one is wanted, which is warned of.

    Raises:
        UsageError: The run does not say which one it was trained on, or no network is known by that name.
    """
    known = trained.estimator
    if wanted is not None:
        if known is None:
            log.warning("%s does not say which estimator's skeletons it was trained on", trained.path)
        else:
            _warn_of_another("estimator", wanted, known, trained.path)
        return wanted
    if known is None:
        raise UsageError(
            f"{trained.path} does not say which estimator its skeletons came from; name one with --estimator, the one "
            "that made them if you know it"
        )
    if ", " in known:
        raise UsageError(
            f"{trained.path} was trained on skeletons of several estimators, {known}; choose one with --estimator"
        )
    return _known("estimator", known, trained.path)


def detector_for(trained: Trained | Detector, wanted: str | None) -> str:
    """The detector that found the persons a run was trained on, unless another one is wanted, which is warned of.

    Raises:
        UsageError: No network is known by that name.
    """
    known = trained.extraction.get("detector")
    if wanted is not None:
        if known is not None:
            _warn_of_another("detector", wanted, known, trained.path)
        return wanted
    return _known("detector", known, trained.path) if known is not None else DETECTOR


def _warn_of_another(kind: str, wanted: str, known: str, run: Path) -> None:
    name = display_name(wanted)
    if not _are_one(kind, name, known):
        log.warning("%s was trained on %s %s, not of %s; expect it to be less accurate", run, MADE[kind], known, name)


def _known(kind: str, name: str, run: Path) -> str:
    """The name of a network that a run was trained on.

    Raises:
        UsageError: There is none of that name.
    """
    try:
        model_zoo.lookup(name, kind)
    except UsageError as error:
        other = (
            "with the detector that goes with it (--detector), or another estimator"
            if kind == "estimator"
            else ("or another detector")
        )
        raise UsageError(
            f"{run} was trained on {MADE[kind]} {name}, and skelpipe has no network of that name; give its "
            f"file, as --{kind} {name}.onnx, {other}"
        ) from error
    return name


def _are_one(kind: str, one: str, other: str) -> bool:
    """Whether two names are one network's."""
    try:
        return model_zoo.lookup(one, kind).name == model_zoo.lookup(other, kind).name
    except UsageError:
        # An ONNX file's stem is its own name.
        return one == other


def _extractor(
    trained: Trained | Detector, networks: Networks, engine: Engine, console: Console, *, at_once: bool
) -> "tuple[PoseExtractor, int]":
    """Stage one's networks, and of how many frames they are shown one."""
    devices = parse_devices(engine.device)
    if len(devices) > 1:
        raise UsageError(f"--device {engine.device}: predict runs on one device; name one")
    settings = stage_one(trained, networks, engine)
    found, detector = identities(settings, devices, None, console)
    _warn_of_other_weights(trained, found, detector)
    return open_extractor(Plan(settings, found, detector, Path(), {}), at_once=at_once), settings.stride


def stage_one(trained: Trained | Detector, networks: Networks, engine: Engine) -> ExtractSettings:
    """Settings of stage one: those of the run's skeletons, but for what is wanted otherwise.

    Raises:
        UsageError: The run's networks are not known here, or a setting is none.
    """
    estimator = estimator_for(trained, networks.estimator)
    if not is_onnx(estimator):
        # The name as the table spells it, for its message if there is none.
        model_zoo.lookup(estimator, "estimator")
    detector = DETECTOR if is_bottom_up(estimator) else detector_for(trained, networks.detector)
    shaping = {name: trained.extraction[name] for name in SHAPING if name in trained.extraction}
    if not _are_one("detector", display_name(detector), str(trained.extraction.get("detector"))):
        # Scores of one detector say nothing of another's.
        shaping.pop("detection_threshold", None)
    return parse_settings(
        {
            **shaping,
            "estimator": estimator,
            "detector": detector,
            "checkpoint": networks.checkpoint,
            "detector_checkpoint": networks.detector_checkpoint,
            "device": engine.device,
            "backend": engine.backend,
            "precision": engine.precision,
        },
        place=str(trained.path),
    )


def _warn_of_other_weights(trained: Trained | Detector, *networks: Identity | None) -> None:
    for network in networks:
        if network is None or not _are_one(network.kind, network.name, str(trained.extraction.get(network.kind))):
            continue
        known = trained.extraction.get(f"{network.kind}_weights")
        if known not in (None, network.digest):
            option = "--checkpoint" if network.kind == "estimator" else "--detector-checkpoint"
            log.warning(
                "%s was trained on skeletons of %s with the weights %s, and these are %s; name the others with %s",
                trained.path,
                network.name,
                known,
                network.digest,
                option,
            )


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
