"""Stage one of `skelpipe predict`: which networks, set how, given the run that is asked."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.evaluate import Engine
from pipeline.extract import identities, parse_devices
from pipeline.extract_device import open_extractor
from pipeline.extract_plan import Plan
from pipeline.settings import ExtractSettings, parse_settings
from pose_extraction import model_zoo
from pose_extraction.errors import UsageError
from pose_extraction.estimators import Identity, display_name, is_bottom_up, is_onnx
from recognition.extraction_settings import SHAPING
from recognition.protocols.detector import Detector
from recognition.runs import Trained

if TYPE_CHECKING:
    from pose_extraction.extraction import PoseExtractor

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


def open_networks(
    trained: Trained | Detector, networks: Networks, engine: Engine, console: Console, *, at_once: bool
) -> "tuple[PoseExtractor, int]":
    """Stage one's networks, set as for the run's skeletons, and of how many frames they are shown one.

    Args:
        trained: The run.
        networks: What is wanted otherwise.
        engine: Device, backend and precision.
        console: Where downloads are shown.
        at_once: Whether frames come one by one, and none may wait.

    Raises:
        UsageError: A network is not known, or a setting is none.
        WeightsError: Weights are not to be had.
        BackendError: A network cannot run as asked on this machine.
    """
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
    if not _are_one("detector", display_name(detector), trained.extraction.get("detector")):
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
        detector = "with the detector that goes with it (--detector), " if kind == "estimator" else ""
        raise UsageError(
            f"{run} was trained on {MADE[kind]} {name}, and skelpipe has no network of that name; give its "
            f"file, as --{kind} {name}.onnx, {detector}or another {kind}"
        ) from error
    return name


def _are_one(kind: str, one: str, other: str | None) -> bool:
    """Whether two names are one network's; none is nobody's."""
    if other is None:
        return False
    try:
        return model_zoo.lookup(one, kind).name == model_zoo.lookup(other, kind).name
    except UsageError:
        # An ONNX file's stem is its own name.
        return one == other


def _warn_of_other_weights(trained: Trained | Detector, *networks: Identity | None) -> None:
    for network in networks:
        if network is None or not _are_one(network.kind, network.name, trained.extraction.get(network.kind)):
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
