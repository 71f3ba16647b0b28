"""Frames per second of our extraction and of mmpose.apis.MMPoseInferencer, with equal work and with our defaults.

    python benchmarks/extract_vs_mmpose.py CLIP [--estimator hrnet-w32] [--persons 2] [--frames 24] [--device cpu]

Both run the same networks with the same seeded weights on the same clip. The detector runs on every frame (ours by
default on key frames only), and its output is replaced by scripted boxes, so that both crop the same persons. Variants
alternate in one process; the tables show medians. Our time includes decoding, tracking, cleaning and writing. Peak
memory is measured in a separate process per variant.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.image_networks import ImageNetwork
from pose_extraction.extraction import ExtractionSettings, PoseExtractor, follow
from pose_extraction.formats.annotations import annotation_from, data_set, pack_raw
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.networks.detection import Detections
from pose_extraction.networks.estimators import load_detector, load_estimator
from pose_extraction.networks.identity import NetworkOptions, identify
from pose_extraction.networks.openmmlab import mmlab, mmlab_packages
from pose_extraction.video.decoding import VideoJob
from pose_extraction.video.reader import VideoReader
from pose_extraction.video.writer import VideoWriter

SEED = "seed:0"
BASELINE = "MMPoseInferencer"
# Precision ("auto" runs the detector in fp32), flip test, square detector input, detection interval in frames (None:
# the default).
VARIANTS: dict[str, tuple[str, bool, bool, int | None]] = {
    "fp32, equal work": ("fp32", True, True, 1),
    "bf16, equal work": ("bf16", True, True, 1),
    "and no flip": ("bf16", False, True, 1),
    "and oblong input": ("bf16", False, False, 1),
    "and the default interval": ("bf16", False, False, None),
    "defaults": ("auto", False, False, None),
}
Run = Callable[[], dict[str, float]]


class Timed:
    """A network whose run time is measured."""

    def __init__(self, network: ImageNetwork) -> None:
        self.batch_size = network.batch_size
        self.seconds = 0.0
        self._network = network

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        started = time.perf_counter()
        try:
            return self._network(images)
        finally:
            self.seconds += time.perf_counter() - started


class Scripted:
    """Runs a detector, but returns the scripted boxes."""

    def __init__(self, detector: Any, boxes: np.ndarray) -> None:
        self._detector = detector
        self._boxes = boxes
        self.batch_size = detector.batch_size

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        self._detector.detect(images)
        return [(self._boxes.copy(), np.full(len(self._boxes), 0.9, np.float32)) for _ in images]


def scripted_boxes(size: tuple[int, int], persons: int) -> np.ndarray:
    """Return boxes of persons standing next to each other, as seen by an indoor camera."""
    height, width = size
    centres = (np.arange(persons) + 1) * width / (persons + 1)
    half = 0.055 * width
    return np.array([[x - half, 0.22 * height, x + half, 0.84 * height] for x in centres], np.float32)


def prepare_ours(name: str, arguments: argparse.Namespace, clip: Path, boxes: np.ndarray) -> Run:
    """Return a function that extracts the clip once and returns the seconds of each step."""
    precision, flip_test, square, detect_every = VARIANTS[name]
    options = NetworkOptions(Engine(arguments.device, precision=precision), flip_test=flip_test, oblong=not square)
    estimator = load_estimator(identify("estimator", arguments.estimator, checkpoint=SEED, options=options), options)
    detector: Any = load_detector(identify("detector", arguments.detector, checkpoint=SEED, options=options), options)
    timed: list[Timed] = []

    def count(network: ImageNetwork) -> Timed:
        timed.append(Timed(network))
        return timed[-1]

    estimator.network = count(estimator.network)  # type: ignore[union-attr]
    make_network = detector.make_network
    detector.make_network = lambda size: count(make_network(size))
    settings = ExtractionSettings(detect_every=detect_every)
    out = Path(tempfile.mkdtemp()) / "clip.pkl"

    def run() -> dict[str, float]:
        for network in timed:
            network.seconds = 0.0
        extractor = PoseExtractor(estimator, Scripted(detector, boxes), settings)
        started = time.perf_counter()
        (job, frames), *_ = extractor.videos([VideoJob(clip)])
        seen = time.perf_counter()
        assert job.info is not None
        poses = follow(frames, job.info.size, settings)[0].poses
        followed = time.perf_counter()
        annotation = annotation_from(
            poses, frame_dir="clip", estimator=arguments.estimator, fps=job.info.fps, source="clip"
        )
        write_pickle(out, data_set([annotation], {"all": ["clip"]}, raw=pack_raw(frames)))
        ended = time.perf_counter()
        times = extractor.times
        networks = sum(network.seconds for network in timed)
        inside = times.detect + times.crop + times.network + times.decode
        return {
            "total": ended - started,
            "networks": networks,
            "detector input and boxes": times.detect + times.network - networks,
            "crops": times.crop,
            "heat maps": times.decode,
            "waiting for frames": (seen - started) - inside,
            "tracking and cleaning": followed - seen,
            "writing": ended - followed,
        }

    return run


def prepare_baseline(arguments: argparse.Namespace, clip: Path, boxes: np.ndarray) -> Run:
    """Return a function that runs MMPoseInferencer on the clip once."""
    mmlab_packages.prepare()
    from mmpose.apis import MMPoseInferencer

    options = NetworkOptions(Engine(device=arguments.device, backend="torch", precision="fp32"))
    pose_entry = identify("estimator", arguments.estimator, checkpoint=SEED, options=options).entry
    detector_entry = identify("detector", arguments.detector, checkpoint=SEED, options=options).entry
    assert pose_entry is not None and detector_entry is not None
    inferencer = MMPoseInferencer(
        pose2d=mmlab.load_config("mmpose", pose_entry.config).filename,
        det_model=mmlab.load_config(detector_entry.package, detector_entry.config).filename,
        det_cat_ids=[0],
        device=arguments.device,
    ).inferencer
    inferencer.model.load_state_dict(mmlab.build_topdown(pose_entry.config)[0].state_dict())
    network, _ = mmlab.build_detector(detector_entry.package, detector_entry.config)
    inferencer.detector.model.load_state_dict(network.state_dict())
    detect = inferencer.detector

    def scripted(image: Any, **keywords: Any) -> dict[str, Any]:
        import torch
        from mmengine.structures import InstanceData

        results = detect(image, **keywords)
        results["predictions"][0].pred_instances = InstanceData(
            bboxes=torch.from_numpy(boxes),
            scores=torch.full((len(boxes),), 0.9),
            labels=torch.zeros(len(boxes), dtype=torch.long),
        )
        return results

    inferencer.detector = scripted

    def run() -> dict[str, float]:
        started = time.perf_counter()
        for _ in inferencer(str(clip), return_datasamples=False):
            pass
        return {"total": time.perf_counter() - started}

    return run


def has_baseline(arguments: argparse.Namespace) -> bool:
    """Return whether mmpose has both networks; those that ship with this project it has not."""
    options = NetworkOptions(Engine(device=arguments.device, backend="torch", precision="fp32"))
    pose = identify("estimator", arguments.estimator, checkpoint=SEED, options=options).entry
    detector = identify("detector", arguments.detector, checkpoint=SEED, options=options).entry
    return pose is not None and detector is not None and "pose_extraction" not in (pose.package, detector.package)


def prepare(name: str, arguments: argparse.Namespace, clip: Path, boxes: np.ndarray) -> Run:
    """Return the run function of a variant."""
    if name == BASELINE:
        return prepare_baseline(arguments, clip, boxes)
    return prepare_ours(name, arguments, clip, boxes)


def cut_clip(source: Path, frames: int, folder: Path) -> tuple[Path, tuple[int, int]]:
    """Write the first frames of a clip to a file, because MMPoseInferencer always reads to the end."""
    path = folder / "clip.mp4"
    with VideoReader(source) as reader, VideoWriter(path, reader.info.fps, reader.info.size) as writer:
        for frame in reader:
            if frame.index >= frames:
                break
            writer.write(frame.image, frame.time)
        return path, reader.info.size


def peak_memory(name: str) -> float:
    """Return the peak resident memory in MiB of a separate process that runs one variant once."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(output.splitlines()[-1])["peak_mib"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="video; its first frames are used")
    parser.add_argument(
        "--estimator", default="hrnet-w32", help="pose estimator of both programs (default: %(default)s)"
    )
    parser.add_argument("--detector", default="rtmdet", help="person detector of both programs (default: %(default)s)")
    parser.add_argument("--persons", type=int, default=2, help="scripted boxes per frame (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=24, help="frames of the clip (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each variant (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="device of both programs (default: %(default)s)")
    parser.add_argument("--no-memory", action="store_true", help="skip the memory measurement in separate processes")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="variants to run")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    with tempfile.TemporaryDirectory() as folder:
        clip, size = cut_clip(arguments.clip, arguments.frames, Path(folder))
        boxes = scripted_boxes(size, arguments.persons)
        if arguments.only:
            prepare(arguments.only, arguments, clip, boxes)()
            # getrusage() is not suitable: its maximum includes the memory of the parent at the fork.
            status = Path("/proc/self/status").read_text(encoding="ascii")
            print(json.dumps({"peak_mib": int(status.split("VmHWM:")[1].split()[0]) / 1024}))
            return
        names = [*([BASELINE] if has_baseline(arguments) else []), *arguments.variants]
        runs = {name: prepare(name, arguments, clip, boxes) for name in names}
        parts: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for repeat in range(arguments.repeats + 1):
            for name in names:
                measured = runs[name]()
                # The first round is a warm-up.
                if repeat:
                    parts[name].append(measured)
    report(arguments, parts)


def report(arguments: argparse.Namespace, parts: dict[str, list[dict[str, float]]]) -> None:
    seconds = {name: statistics.median(part["total"] for part in rounds) for name, rounds in parts.items()}
    what = f"{arguments.estimator}, {arguments.detector}, {arguments.persons} persons, {arguments.frames} frames"
    print(f"\n{what}, median of {arguments.repeats}\n")
    first, *_ = seconds
    if first != BASELINE:
        print(f"mmpose does not have these networks; ratios are to {first!r}\n")
    print("| variant | frames/s | ratio | networks alone, frames/s | outside networks | peak MiB |")
    print("|---|---|---|---|---|---|")
    for name, rounds in parts.items():
        rate, ratio = arguments.frames / seconds[name], seconds[first] / seconds[name]
        networks = statistics.median(part.get("networks", float("nan")) for part in rounds)
        floor, rest = arguments.frames / networks, 1 - networks / seconds[name]
        memory = "" if arguments.no_memory else f"{peak_memory(name):.0f}"
        print(f"| {name} | {rate:.2f} | {ratio:.2f} | {floor:.2f} | {rest:.1%} | {memory} |")
    steps = parts[arguments.variants[0]][0]
    print("\n| ms per frame | " + " | ".join(steps) + " |")
    print("|---" * (1 + len(steps)) + "|")
    for name in arguments.variants:
        keys = parts[name][0]
        cells = [1e3 * statistics.median(part[key] for part in parts[name]) / arguments.frames for key in keys]
        print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
