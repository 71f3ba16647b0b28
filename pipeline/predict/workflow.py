"""`skelpipe predict`: predict actions from videos, skeleton files, a camera or a stream."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from pipeline.inputs.videos import VIDEO_SUFFIXES, Inputs, Source, survey
from pipeline.predict.answers import Answer
from pipeline.predict.observer import Observer
from pipeline.predict.options import Networks, PredictOptions, SkeletonFileOptions
from pose_extraction.engines.engine import Engine
from pose_extraction.engines.torch_extra import require_torch
from pose_extraction.errors import UsageError
from pose_extraction.formats.shards.manifest import SUFFIX as SHARDS
from pose_extraction.formats.shards.manifest import is_data_set, is_shards
from pose_extraction.skeleton import COCO17
from pose_extraction.video.addresses import is_live
from recognition import hub
from recognition.confidence.confidence import FEWEST_FOR_THRESHOLD
from recognition.data.clip import ClipFormat
from recognition.inference.exported_run import ExportedRun, load_exported
from recognition.inference.trained_network import DescribedRun
from recognition.inference.windows import UNKNOWN
from recognition.packed import EVERYDAY, shipped
from recognition.run_folder import is_encoder
from recognition.run_names import RUNS, newest_or_shipped_run, newest_run
from recognition.runs import Trained, detector_file, is_exported, load_run, run_file

if TYPE_CHECKING:
    from recognition.protocols.detector import ActionDetector

SKELETONS = ".pkl"


def predict(
    given: Sequence[str | Path],
    run: Path | None,
    options: PredictOptions,
    *,
    networks: Networks | None = None,
    engine: Engine | None = None,
    file_options: SkeletonFileOptions | None = None,
    observer: Observer | None = None,
    console: Console,
) -> Iterator[Answer]:
    """Predict the actions of clips; each prediction is yielded as soon as it is final.

    Args:
        given: Videos, folders, glob patterns and skeleton files; or one camera or stream.
        run: Run directory, one of its files of weights, or the folder of an exported recognizer; None: the newest run.
        options: Options of the prediction.
        networks: Networks of stage one (pose extraction).
        engine: Device, backend and precision of both stages, and batch settings of stage two (recognition).
        file_options: Selection of clips in skeleton files.
        observer: Follows the prediction of files; None for no one.
        console: Receives progress and warnings.

    Yields:
        One or more predictions per clip.

    Raises:
        UsageError: There is no run, no input, or the options contradict each other or the run.
        WeightsError: The run, or a network of stage one, cannot be read.
        BackendError: A network cannot run with these settings on this machine.
        AnnotationError: A skeleton file is malformed.
        VideoError: A camera or a stream cannot be read.
    """
    networks, engine, file_options = networks or Networks(), engine or Engine(), file_options or SkeletonFileOptions()
    live, skeletons, found = _sorted_inputs(given, networks, options, file_options)
    sources = found.sources
    run = run if run is not None else _newest(console)
    found_detector = _checked_detector(run)
    # Only now, because they take a while to load.
    from pipeline.predict.live import predict_live
    from pipeline.predict.networks import open_networks
    from pipeline.predict.skeleton_files import predict_skeletons, predictor_for
    from pipeline.predict.videos import predict_videos
    from recognition.inference.skeleton_clips import check_layout

    trained = load_network(run, found_detector)
    check_options(trained, options, console)
    address = hub.address_of(trained.path)
    named = partial(replace, run=None if address is None else str(address))
    for folder, reason in found.unreadable:
        yield named(Answer(str(folder), reason=f"cannot be listed ({reason}); check its permissions", failed=True))
    for path in skeletons:
        yield from map(named, predict_skeletons(path, trained, engine, file_options, options, console, observer))
    if not sources and not live:
        return
    place = Path(live[0] if live else sources[0].path)
    check_layout(trained, ClipFormat(place, COCO17))
    extractor, stride = open_networks(trained, networks, engine, console, at_once=bool(live))
    predictor = predictor_for(trained, engine)
    if live:
        answers = predict_live(live[0], extractor, predictor, options, console, stride=stride)
    else:
        answers = predict_videos(sources, extractor, predictor, options, console, stride=stride, observer=observer)
    yield from map(named, answers)


def _sorted_inputs(
    given: Sequence[str | Path], networks: Networks, options: PredictOptions, file_options: SkeletonFileOptions
) -> tuple[list[str], list[Path], Inputs]:
    """Return cameras and streams, skeleton files, and videos.

    Raises:
        UsageError: There is no input, or the options do not apply to it.
    """
    live = [str(word) for word in given if is_live(str(word))]
    skeletons = [Path(word) for word in given if str(word) not in live and _holds_skeletons(Path(word))]
    videos = [word for word in given if str(word) not in live and Path(word) not in skeletons]
    _refuse_contradictions(live, skeletons, videos, options, file_options)
    if skeletons and not (live or videos):
        _refuse_networks(skeletons[0], networks)
    found = survey(videos) if videos else Inputs()
    _refuse_overlay(found.sources, options)
    return live, skeletons, found


def _checked_detector(run: Path) -> Path | None:
    """Return the action detector of a run, None if it has a recognizer; what is missing is reported at once.

    Raises:
        WeightsError: There is no such run.
        BackendError: It needs torch, which is not installed.
    """
    if is_exported(run):
        return None
    found = detector_file(run)
    if found is None:
        run_file(run)
        require_torch(f"the recognizer {run}")
    return found


def _holds_skeletons(path: Path) -> bool:
    return path.suffix in (SKELETONS, SHARDS) or is_shards(path)


def _newest(console: Console) -> Path:
    """Return the newest run that predicts actions, with a note if a newer one does not.

    Raises:
        UsageError: No run exists.
    """
    newest = newest_or_shipped_run()
    if newest == shipped(EVERYDAY):
        console.print(
            Text(
                f"note: no run in {RUNS}/: using the recognizer {EVERYDAY!r} of the package, which knows some everyday "
                "actions; train one for yours with `skelpipe train`"
            )
        )
        return newest
    if _predicts_actions(newest):
        return newest
    try:
        found = newest_run(wanted=_predicts_actions)
    except UsageError:
        # The error raised for this run explains how to use it.
        return newest
    console.print(Text(f"note: using {found}, because {newest} is a pre-trained encoder"))
    return found


def _predicts_actions(run: Path) -> bool:
    return not is_encoder(run) or detector_file(run) is not None


def load_network(run: Path, detector: Path | None) -> "Trained | ActionDetector | ExportedRun":
    """Load a run's recognizer, an exported one, or the action detector that was trained from a pre-trained encoder.

    Args:
        run: The run.
        detector: Its action detector, see `detector_file`; None for the recognizer.

    Raises:
        WeightsError: There is no network, or it is damaged.
        BackendError: It needs torch, which is not installed.
    """
    if is_exported(run):
        return load_exported(run)
    require_torch(f"the recognizer {run}")
    if detector is None:
        return load_run(run)
    from recognition.protocols.detector import load_detector

    return load_detector(detector)


def check_options(trained: "Trained | ActionDetector | ExportedRun", options: PredictOptions, console: Console) -> None:
    """Check that a network supports the options, and print what a user should know about the combination.

    Args:
        trained: The network.
        options: Options of the prediction.
        console: Receives notes and warnings.

    Raises:
        UsageError: A detector is used without windows, the network has no attention for `--explain`, or the threshold
            of the run is required, but it has none.
    """
    if isinstance(trained, Trained):
        if options.scope.explain and not trained.recognizer.backbone.knows_attention:
            raise UsageError(
                f"--explain: {trained.path} uses {trained.settings.model.backbone}, which has no attention layers; "
                "omit --explain, or use a run with dstformer, transformer or sttformer"
            )
    elif isinstance(trained, ExportedRun):
        if options.scope.explain:
            raise UsageError(f"--explain: {trained.path} is an exported recognizer without attention; use the run")
    else:
        _check_detector(trained, options, console)
    _check_threshold(trained, options, console)


def _check_detector(detector: "ActionDetector", options: PredictOptions, console: Console) -> None:
    if options.windows is None:
        known = "" if detector.seconds is None else f"; it was trained on windows of {detector.seconds:.2g} s"
        raise UsageError(
            f"{detector.path}: is an action detector, which requires windows; set their length in seconds with "
            f"--windows{known}"
        )
    if options.scope.explain:
        raise UsageError(f"--explain: {detector.path} classifies frames and provides no attention; omit --explain")
    note = detector.length_warning(options.windows)
    if note is not None:
        console.print(Text(f"warning: {note}"))


def _check_threshold(trained: DescribedRun, options: PredictOptions, console: Console) -> None:
    """Print which answers are unknown, if the threshold of the run decides.

    Raises:
        UsageError: The threshold of the run is required, but it has none.
    """
    given, own = options.scope.threshold, trained.confidence
    if given == "auto" and own.threshold is None:
        reason = (
            f"can be derived from {own.clips} clips; at least {FEWEST_FOR_THRESHOLD} are required"
            if own.clips
            else "is stored: no clips were held out, or the run was trained by an earlier version"
        )
        raise UsageError(
            f"--threshold auto: {trained.path} has no threshold, because none {reason}; specify a probability, as in "
            "--threshold 0.5, or train again with a larger data.holdout"
        )
    if given in ("auto", None) and own.threshold is not None:
        console.print(
            Text(
                f"note: answers with an unknown score above {own.threshold:.3g} are reported as {UNKNOWN}; "
                "--threshold 0 reports every action"
            )
        )


def _refuse_contradictions(
    live: Sequence[str],
    skeletons: Sequence[Path],
    videos: Sequence[str | Path],
    options: PredictOptions,
    file_options: SkeletonFileOptions,
) -> None:
    if not (live or skeletons or videos):
        raise UsageError("no input: give videos, a folder, a skeleton file, a camera (0) or a stream address")
    if live and (len(live) > 1 or skeletons or videos):
        raise UsageError(f"{live[0]}: a camera or stream must be the only input; use a separate command for the others")
    for path in skeletons:
        if not is_data_set(path):
            raise UsageError(f"{path}: file not found; create it with `skelpipe extract VIDEOS`")
    if skeletons and options.overlay is not None:
        raise UsageError(f"--overlay {options.overlay}: {skeletons[0]} contains no images; pass the video instead")
    if not skeletons and (file_options.split is not None or file_options.keypoint_files is not None):
        raise UsageError("--split and --keypoint-files require a skeleton file (*.pkl or *.parquet) as input")
    if live and (options.fps is not None or options.stream is not None):
        raise UsageError(f"--fps and --stream: apply to files and folders of images, not to {live[0]}; omit them")
    if live and options.timed:
        raise UsageError(
            f"--format: the live source {live[0]} has no end; choose json or csv, or record it to a file first"
        )
    if live and options.scope.explain:
        raise UsageError(f"--explain: not available for the live source {live[0]}; record it to a file first")
    if live and options.overlay is not None and options.overlay.suffix.lower() != ".mp4":
        raise UsageError(f"--overlay {options.overlay}: the overlay of a stream must be an *.mp4 file")


def _refuse_networks(skeletons: Path, networks: Networks) -> None:
    """Refuse options of stage one where all inputs are skeleton files; `skeletons` is one of them."""
    for name, value in asdict(networks).items():
        if value is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} {value}: has no effect, because {skeletons} contains skeletons already; "
                "omit it, or pass the videos"
            )


def _refuse_overlay(sources: Sequence[Source], options: PredictOptions) -> None:
    overlay = options.overlay
    if overlay is None:
        return
    suffix = overlay.suffix.lower()
    if suffix in VIDEO_SUFFIXES - {".mp4"}:
        raise UsageError(f"--overlay {overlay}: overlays are MP4 files; use {overlay.with_suffix('.mp4')}")
    if suffix == ".mp4" and len(sources) > 1:
        raise UsageError(f"--overlay {overlay}: {len(sources)} videos need a folder, not a single file")
    for source in sources:
        path = options.overlay_of(source)
        if path is not None and path.exists() and path.samefile(source.path):
            raise UsageError(f"--overlay {path}: would overwrite the input video; choose another file or folder")
