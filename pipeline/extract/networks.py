"""Devices and digests of the networks of an extraction."""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from pipeline.extract.settings import ExtractSettings
from pipeline.reporting.progress import download_progress
from pose_extraction.engines.devices import cuda_count
from pose_extraction.engines.engine import Engine, resolve_engine
from pose_extraction.errors import BackendError
from pose_extraction.networks import model_zoo
from pose_extraction.networks.detection import PersonDetector
from pose_extraction.networks.identity import NetworkIdentity, NetworkOptions, identify, with_supported_backend
from pose_extraction.networks.names import detector_of, is_blazepose, is_onnx


def identify_networks(
    settings: ExtractSettings, devices: Sequence[str], detector: PersonDetector | None, console: Console
) -> tuple[NetworkIdentity, NetworkIdentity | None]:
    """Identifies estimator and detector on the first device, and downloads their weights if necessary.

    Args:
        settings: See `ExtractSettings`.
        devices: Device names; all of them must support the estimator.
        detector: Custom person detector, if any.
        console: Console for the progress of downloads.

    Returns:
        Estimator and detector; the detector is None for an estimator that detects persons itself.

    Raises:
        BackendError: A device is missing.
        WeightsError: Weights cannot be downloaded.
    """
    if settings.decoder == "cuda" and not cuda_count():
        raise BackendError("--decoder cuda: this machine has no CUDA device; use --decoder cpu")

    def find(kind: str, name: str, checkpoint: str | None) -> NetworkIdentity:
        engine = Engine(devices[0], settings.backend, settings.precision)
        options = with_supported_backend(NetworkOptions(engine), name)
        if is_onnx(name):
            return identify(kind, name, checkpoint=checkpoint, options=options)
        with download_progress(model_zoo.lookup(name, kind), console) as progress:
            return identify(kind, name, checkpoint=checkpoint, options=replace(options, progress=progress))

    estimator = find("estimator", settings.estimator, settings.checkpoint)
    for device in devices[1:]:
        resolve_engine(replace(estimator.engine, device=device), onnx=estimator.entry is None)
    name = detector_of(settings.estimator, settings.detector)
    if detector is not None and (name is not None or is_blazepose(settings.estimator)):
        own = NetworkIdentity(type(detector).__name__, "detector", "own", Engine("cpu", "torch", "fp32"), None, None, 0)
        return estimator, own
    return estimator, find("detector", name, settings.detector_checkpoint) if name is not None else None
