"""Devices and digests of the networks of an extraction."""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from pipeline.extract.settings import ExtractSettings
from pipeline.reporting.progress import download_progress
from pose_extraction.engines.backends import Placement, resolve_placement
from pose_extraction.errors import UsageError
from pose_extraction.networks import model_zoo
from pose_extraction.networks.detection import Detector
from pose_extraction.networks.estimators import (
    Identity,
    Request,
    identify,
    is_bottom_up,
    is_onnx,
    with_supported_backend,
)


def parse_devices(text: str) -> list[str]:
    """Parses device names: `cuda:0,1` -> ["cuda:0", "cuda:1"].

    Args:
        text: One device, or several separated by commas.

    Raises:
        UsageError: A name is empty, or the devices differ in kind.
    """
    names: list[str] = []
    for part in text.split(","):
        part = part.strip()
        names.append(f"cuda:{part}" if part.isdecimal() and names and names[0].startswith("cuda") else part)
    if not all(names):
        raise UsageError(f"device {text!r}: give auto, cpu, cuda:0, or several as cuda:0,1")
    if len(names) > 1 and ("auto" in names or len({name.partition(":")[0] for name in names}) > 1):
        raise UsageError(
            f"device {text!r}: all devices must be of the same kind, such as cuda:0,1, because "
            "results differ between kinds"
        )
    return names


def identities(
    settings: ExtractSettings, devices: Sequence[str], detector: Detector | None, console: Console
) -> tuple[Identity, Identity | None]:
    """Identifies estimator and detector on the first device, and downloads their weights if necessary.

    Args:
        settings: See `ExtractSettings`.
        devices: Device names; all of them must support the estimator.
        detector: Custom person detector, if any.
        console: Console for the progress of downloads.

    Returns:
        Estimator and detector; the detector is None for a bottom-up estimator.
    """

    def find(kind: str, name: str, checkpoint: str | None) -> Identity:
        request = Request(device=devices[0], backend=settings.backend, precision=settings.precision)
        request = with_supported_backend(request, name)
        if is_onnx(name):
            return identify(kind, name, checkpoint=checkpoint, request=request)
        with download_progress(model_zoo.lookup(name, kind), console) as progress:
            return identify(kind, name, checkpoint=checkpoint, request=replace(request, progress=progress))

    estimator = find("estimator", settings.estimator, settings.checkpoint)
    for device in devices[1:]:
        placement = estimator.placement
        resolve_placement(device, placement.backend, placement.precision, onnx=estimator.entry is None)
    if is_bottom_up(settings.estimator):
        return estimator, None
    if detector is not None:
        own = Identity(type(detector).__name__, "detector", "own", Placement("cpu", "torch", "fp32"), None, None, 0)
        return estimator, own
    return estimator, find("detector", settings.detector, settings.detector_checkpoint)
