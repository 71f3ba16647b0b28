"""Size and speed of networks of stage one as ONNX files, next to torch.

    taskset -c 0 python benchmarks/exported_networks.py --rounds 3

Prints for each network the size of its ONNX file, and the processor time per image, one by one and in batches: the
median of the rounds, in which the engines alternate, and the median of the ratios to torch; for estimators also the
largest difference of a heat map from torch. Images are random; estimators get crops, detectors frames of 640 x 480
pixels, including their letterbox and the removal of overlapping boxes. Networks of the package have their weights, the
others random ones, which take as long. No boxes reach the threshold.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exported_speed import alternating, median_ratio
from pose_extraction.engines.engine import Backend, Engine
from pose_extraction.networks import model_zoo
from pose_extraction.networks.estimators import load_detector, load_estimator
from pose_extraction.networks.identity import NetworkIdentity, NetworkOptions, identify
from pose_extraction.networks.onnx_export import export_network

NETWORKS = ("hrnet-tiny", "vitpose-b", "rtmdet-nano-rendered", "rtmdet-m-person")
ENGINES: tuple[Backend, ...] = ("torch", "onnxruntime", "openvino")
BATCHES = (1, 8)
SEED = "seed:0"
FRAME = (480, 640)
Run = Callable[[np.ndarray], list[np.ndarray]]


def runner_of(identity: NetworkIdentity, backend: Backend, batch: int) -> Run:
    """Return the function that takes images; it returns heat maps, or the scores of a detector."""
    options = NetworkOptions(Engine("cpu", backend, "fp32", batch), frame_batch=batch)
    if identity.kind == "estimator":
        estimator: Any = load_estimator(identity, options)
        return lambda images: list(estimator.heatmaps(images))
    detector = load_detector(identity, options)
    return lambda images: [score for _, score in detector.detect(list(images))]


def images_for(identity: NetworkIdentity, count: int) -> np.ndarray:
    """Return random images: crops for an estimator, frames for a detector."""
    assert identity.entry is not None
    size = identity.entry.input_size if identity.kind == "estimator" else FRAME
    assert size is not None
    return np.random.default_rng(0).integers(0, 255, (count, *size, 3), np.uint8)


def identities(name: str, path: Path) -> dict[Backend, NetworkIdentity]:
    """Export a network; return it for each engine."""
    entry = model_zoo.lookup(name)
    options = NetworkOptions(Engine("cpu", "torch", "fp32"))
    own = identify(entry.kind, name, checkpoint=None if entry.shipped else SEED, options=options)
    export_network(own, path)
    found: dict[Backend, NetworkIdentity] = {"torch": own}
    for backend in ENGINES[1:]:
        found[backend] = identify(entry.kind, str(path), options=NetworkOptions(Engine("cpu", backend, "fp32")))
    return found


def measure(name: str, rounds: int, count: int) -> None:
    """Print the measures of a network."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        networks = identities(name, path)
        print(f"{name}: {path.stat().st_size / 2**20:.1f} MiB", flush=True)
        images = images_for(networks["torch"], count)
        for batch in BATCHES:
            runs = {backend: runner_of(networks[backend], backend, batch) for backend in ENGINES}
            _compare(runs, images, batch, rounds)


def _compare(runs: dict[Backend, Run], images: np.ndarray, batch: int, rounds: int) -> None:
    # The first run also warms up.
    outputs = {backend: np.concatenate(run(images[:batch])) for backend, run in runs.items()}
    times = alternating(runs, images, batch, rounds)
    for backend in runs:
        difference = ""
        if outputs["torch"].size:
            difference = f", difference {np.abs(outputs[backend] - outputs['torch']).max():.0e}"
        print(
            f"  batch {batch}  {backend:12s} {statistics.median(times[backend]) * 1e3:8.1f} ms per image, "
            f"{median_ratio(times[backend], times['torch']):.2f} of torch{difference}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "networks", nargs="*", default=NETWORKS, help=f"networks of stage one (default: {', '.join(NETWORKS)})"
    )
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds (default: %(default)s)")
    parser.add_argument("--images", type=int, default=8, help="random images of a round (default: %(default)s)")
    options = parser.parse_args()
    for name in options.networks:
        measure(name, options.rounds, options.images)


if __name__ == "__main__":
    main()
