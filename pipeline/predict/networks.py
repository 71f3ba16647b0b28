"""Stage one of `skelpipe predict`: choose the networks and their settings to match the run."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.extract import defaults
from pipeline.extract.device import open_extractor
from pipeline.extract.networks import identify_networks
from pipeline.extract.plan import ExtractionPlan
from pipeline.extract.settings import ExtractSettings, parse_settings
from pipeline.predict.options import Networks
from pose_extraction.engines.devices import parse_devices
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.files import exists
from pose_extraction.networks import model_zoo
from pose_extraction.networks.identity import NetworkIdentity, digest_of_onnx
from pose_extraction.networks.names import detector_of, display_name, is_onnx, searches_tiles
from recognition.data.extraction_settings import SHAPING
from recognition.inference.trained_network import DescribedRun, estimator_note
from recognition.run_names import shown

if TYPE_CHECKING:
    from pose_extraction.extraction import PoseExtractor

# Wording for the output of each kind of network, used in messages.
OUTPUTS = {"estimator": "skeletons of", "detector": "persons of"}

log = logging.getLogger(__name__)


def open_networks(
    trained: DescribedRun, networks: Networks, engine: Engine, console: Console, *, at_once: bool
) -> "tuple[PoseExtractor, int]":
    """Load the networks of stage one with the settings that produced the run's skeletons.

    Args:
        trained: The run.
        networks: Networks that replace those of the run.
        engine: Device, backend and precision.
        console: Receives the progress of downloads.
        at_once: Whether to process each frame as soon as it arrives, without batching.

    Returns:
        The extractor, and the stride: every N-th frame is processed.

    Raises:
        UsageError: A network is unknown, or a setting is invalid.
        WeightsError: Weights are not available.
        BackendError: A network cannot run with these settings on this machine.
    """
    plan = plan_networks(trained, networks, engine, console)
    return open_extractor(plan, at_once=at_once), plan.settings.stride


def plan_networks(trained: DescribedRun, networks: Networks, engine: Engine, console: Console) -> ExtractionPlan:
    """Choose the networks of stage one, and download their weights if necessary; see `open_networks`.

    Args:
        trained: The run.
        networks: Networks that replace those of the run.
        engine: Device, backend and precision.
        console: Receives the progress of downloads.

    Raises:
        UsageError: A network is unknown, or a setting is invalid.
        WeightsError: Weights are not available.
        BackendError: A network cannot run with these settings on this machine.
    """
    devices = parse_devices(engine.device)
    if len(devices) > 1:
        raise UsageError(f"--device {engine.device}: predict runs on a single device; choose one")
    settings = stage_one(trained, networks, engine)
    found, detector = identify_networks(settings, devices, None, console)
    _warn_of_other_weights(trained, found, detector)
    return ExtractionPlan(settings, found, detector, Path(), {})


def stage_one(trained: DescribedRun, networks: Networks, engine: Engine) -> ExtractSettings:
    """Return the settings of stage one: those of the run's skeletons, with the requested changes.

    Args:
        trained: The run.
        networks: Networks that replace those of the run.
        engine: Device, backend and precision.

    Raises:
        UsageError: The run's networks are not available here, or a setting is invalid.
    """
    estimator = estimator_for(trained, networks.estimator)
    if not is_onnx(estimator):
        # Raises an error that lists the known names, if the estimator is unknown.
        model_zoo.lookup(estimator, "estimator")
    # An estimator that can do without a detector gets that of the run only if the run combined the two.
    detector = networks.detector or defaults.DETECTOR
    if detector_of(estimator, detector) is not None or _same_network("estimator", estimator, trained.estimator):
        detector = detector_for(trained, networks.detector)
    if detector_of(estimator, detector) is None:
        detector = defaults.DETECTOR
    shaping = {name: trained.extraction[name] for name in SHAPING if name in trained.extraction}
    known = trained.extraction.get("detector") or trained.extraction.get("estimator")
    if not _same_network("detector", display_name(detector_of(estimator, detector) or estimator), known):
        # Scores of different detectors are not comparable.
        shaping.pop("detection_threshold", None)
    if not searches_tiles(estimator, detector):
        shaping.pop("tiles", None)
    search = networks.search()
    # Without the place, so that errors name the options instead of the run.
    parse_settings({"estimator": estimator, "detector": detector, **search}, place=None)
    return parse_settings(
        {
            **shaping,
            **search,
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


def estimator_for(trained: DescribedRun, requested: str | None) -> str:
    """Return the requested estimator or that of the run; warn if they differ.

    Args:
        trained: The run.
        requested: Name or ONNX file of the requested estimator; None for that of the run.

    Raises:
        UsageError: The run does not record its estimator, no network has that name, or its file is missing or changed.
    """
    known = trained.estimator
    if requested is not None:
        name = display_name(requested)
        if known is None:
            log.warning("%s does not record the estimator of its training skeletons", shown(trained.path))
        elif not any(_same_network("estimator", name, one) for one in known.split(", ")):
            log.warning("%s; with %s expect lower accuracy", estimator_note(trained), name)
        return requested
    if known is None:
        raise UsageError(
            f"{shown(trained.path)} does not record the estimator of its training skeletons; specify it with "
            "--estimator (use the one that produced the skeletons, if known)"
        )
    if ", " in known:
        raise UsageError(
            f"{trained.path} was trained on skeletons from several estimators, {known}; choose one with --estimator"
        )
    return _known("estimator", known, trained)


def detector_for(trained: DescribedRun, requested: str | None) -> str:
    """Return the requested person detector or that of the run; warn if they differ.

    Args:
        trained: The run.
        requested: Name or ONNX file of the requested detector; None for that of the run, or the default.

    Raises:
        UsageError: No network has that name, or its file is missing or changed.
    """
    known = trained.extraction.get("detector")
    if requested is not None:
        name = display_name(requested)
        if known is not None and not _same_network("detector", name, known):
            run = shown(trained.path)
            log.warning("%s was trained on persons of %s, not %s; expect lower accuracy", run, known, name)
        return requested
    return _known("detector", known, trained) if known is not None else defaults.DETECTOR


def _known(kind: str, name: str, trained: DescribedRun) -> str:
    """Return the name of a network that a run was trained with, or the path of its ONNX file.

    Raises:
        UsageError: No network has that name, or the file is missing or has changed.
    """
    file = trained.extraction.get(f"{kind}_file")
    if file is not None and display_name(file) == name:
        return _recorded_file(kind, Path(file), trained)
    try:
        model_zoo.lookup(name, kind)
    except UsageError as error:
        detector = "with its detector (--detector), " if kind == "estimator" else ""
        raise UsageError(
            f"{trained.path} was trained on {OUTPUTS[kind]} {name}, which skelpipe does not include; pass its file, as "
            f"in --{kind} {name}.onnx, {detector}or another {kind}"
        ) from error
    return name


def _recorded_file(kind: str, file: Path, trained: DescribedRun) -> str:
    """Return the path of the ONNX file that a run was trained with.

    Raises:
        UsageError: The file is missing or has changed.
    """
    origin = f"{trained.path} was trained on {OUTPUTS[kind]} the network in {file}"
    if not exists(file):
        raise UsageError(
            f"{origin}, which does not exist; put it back, or pass its new place, as in --{kind} FOLDER/{file.name}"
        )
    wanted, found = trained.extraction.get(f"{kind}_weights"), digest_of_onnx(file)
    if wanted not in (None, found):
        raise UsageError(
            f"{origin}, which has changed since then: the digest of the file and its settings is {found}, not "
            f"{wanted}; restore it, or pass --{kind} {file} to use it as it is now"
        )
    return str(file)


def _same_network(kind: str, one: str, other: str | None) -> bool:
    """Whether two names refer to the same network; None refers to no network."""
    if other is None:
        return False
    try:
        return model_zoo.lookup(one, kind).name == model_zoo.lookup(other, kind).name
    except UsageError:
        # The name of an ONNX network is its file name without the suffix.
        return one == other


def _warn_of_other_weights(trained: DescribedRun, *networks: NetworkIdentity | None) -> None:
    for network in networks:
        if network is None or not _same_network(network.kind, network.name, trained.extraction.get(network.kind)):
            continue
        known = trained.extraction.get(f"{network.kind}_weights")
        if known not in (None, network.digest):
            option = "--checkpoint" if network.kind == "estimator" else "--detector-checkpoint"
            # The weights of an ONNX network are in its file.
            option = option if network.entry is not None else f"--{network.kind}"
            log.warning(
                "%s was trained on skeletons of %s with weights %s, not the current %s; specify those weights with %s",
                trained.path,
                network.name,
                known,
                network.digest,
                option,
            )
