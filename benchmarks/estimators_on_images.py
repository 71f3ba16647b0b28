"""Compare pose estimators on labelled images of real people: speed, mean OKS and PCK.

    python benchmarks/estimators_on_images.py DATA --network blazepose --network pose.onnx+yolox.onnx

DATA contains `coco_val2017/person_keypoints.json` (the official format) and `lsp_extended/joints.json`, each next to a
folder `images`. A network is an estimator as in `skelpipe extract --estimator`, or ESTIMATOR+DETECTOR. Each is measured
with its own boxes and with the true ones.

OKS is COCO's, with the area of the person's outline, averaged over the people with at least `--joints` labelled joints;
a person who was not found counts 0, and so does a joint. PCK is the share of labelled joints that lie within 0.2 of the
torso (left shoulder to right hip) from their label, found or not. LSP labels one person per image, on whose joints the
estimator's person with the largest overlap is compared; neck and top of the head are left out.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from pose_extraction.engines.engine import Engine
from pose_extraction.extraction import ExtractionSettings, PoseExtractor
from pose_extraction.networks.detection import Detections
from pose_extraction.networks.estimators import load_detector, load_estimator
from pose_extraction.networks.identity import NetworkOptions, identify, with_supported_backend
from pose_extraction.networks.names import detector_of
from pose_extraction.oks import box_iou, joint_likeness
from pose_extraction.poses import FramePoses
from pose_extraction.skeleton import COCO17
from pose_extraction.video.image_folder import read_image
from pose_extraction.video.reader import Frame

NEAR = 0.2
SHOULDER, HIP = COCO17.joints.index("left_shoulder"), COCO17.joints.index("right_hip")
# An LSP box reaches this much further than its joints, as a fraction of their extent.
BOX_MARGIN = 0.1


@dataclass(frozen=True)
class Labelled:
    """An image with labelled people.

    Args:
        image: uint8 (H, W, 3) BGR.
        joints: float64 (N, 17, 2) pixels, NaN where not labelled.
        box: float64 (N, 4), x1 y1 x2 y2 in pixels.
        area: float64 (N,), area of the outlines in square pixels; NaN where unknown.
    """

    image: np.ndarray
    joints: np.ndarray
    box: np.ndarray
    area: np.ndarray


@dataclass(frozen=True)
class Score:
    """Result of an estimator on a data set: OKS of each person, and for each joint whether it is near its label."""

    oks: np.ndarray
    near: np.ndarray
    seconds: float


def read_coco(folder: Path, joints: int) -> list[Labelled]:
    """Read the images with people who have at least so many labelled joints."""
    table = json.loads((folder / "person_keypoints.json").read_text(encoding="utf-8"))
    images = []
    for row in table["images"]:
        people = [
            one
            for one in table["annotations"]
            if one["image_id"] == row["id"] and one["num_keypoints"] >= joints and not one["iscrowd"]
        ]
        if not people:
            continue
        points = np.array([one["keypoints"] for one in people], np.float64).reshape(-1, COCO17.num_joints, 3)
        place = np.where(points[..., 2:] > 0, points[..., :2], np.nan)
        box = np.array([one["bbox"] for one in people], np.float64)
        box[:, 2:] += box[:, :2]
        area = np.array([one["area"] for one in people], np.float64)
        images.append(Labelled(read_image(folder / "images" / row["file_name"]), place, box, area))
    return images


def read_lsp(folder: Path) -> list[Labelled]:
    """Read the images of LSP extended, one person each, without OKS."""
    table = json.loads((folder / "joints.json").read_text(encoding="utf-8"))
    shared = [
        (table["joint_names"].index(name), at) for at, name in enumerate(COCO17.joints) if name in table["joint_names"]
    ]
    images = []
    for one in table["people"]:
        place = np.full((1, COCO17.num_joints, 2), np.nan)
        for source, target in shared:
            place[0, target] = one["joints"][source]
        every = np.array(one["joints"], np.float64)
        margin = BOX_MARGIN * np.ptp(every, axis=0)
        box = np.concatenate([every.min(0) - margin, every.max(0) + margin])[None]
        images.append(Labelled(read_image(folder / "images" / one["file"]), place, box, np.array([np.nan])))
    return images


class TrueBoxes:
    """A detector that knows the boxes of some images, which it is given in their order."""

    batch_size = 1

    def __init__(self, images: Sequence[Labelled]) -> None:
        self._boxes = {id(one.image): one.box.astype(np.float32) for one in images}

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        found = [self._boxes[id(image)] for image in images]
        return [(box, np.ones(len(box), np.float32)) for box in found]


def load(network: str, options: NetworkOptions, detector: Any = None) -> PoseExtractor:
    """Load ESTIMATOR or ESTIMATOR+DETECTOR; `detector` replaces the detector."""
    estimator, _, second = network.partition("+")
    own = with_supported_backend(options, estimator)
    poses = load_estimator(identify("estimator", estimator, options=own), own)
    name = detector_of(estimator, second or "auto")
    if detector is None and name is not None:
        own = with_supported_backend(options, name)
        detector = load_detector(identify("detector", name, options=own), own)
    return PoseExtractor(poses, detector, ExtractionSettings(detect_every=1))


def estimate(extractor: PoseExtractor, images: Sequence[Labelled]) -> tuple[list[FramePoses], float]:
    """Return the persons in each image, and the seconds that it took after a first image for warming up."""

    def frames(chosen: Sequence[Labelled]) -> Any:
        for number, one in enumerate(chosen):
            yield number, Frame(number, float(number), one.image)
            yield number, None

    for _ in extractor.poses(frames(images[:1])):
        pass
    started = perf_counter()
    found = {number: poses for number, poses in extractor.poses(frames(images)) if poses is not None}
    return [found[number] for number in range(len(images))], perf_counter() - started


def compare(images: Sequence[Labelled], found: Sequence[FramePoses], seconds: float) -> Score:
    """Compare persons with labels, one to one: by OKS where it is known, else by the overlap of the boxes."""
    oks, near = [], []
    for one, poses in zip(images, found, strict=True):
        labelled = ~np.isnan(one.joints[..., 0])
        place = np.full_like(one.joints, np.nan)
        if poses.num_persons:
            area = one.area[:, None]
            alike = joint_likeness(one.joints[:, None], poses.keypoint[None].astype(np.float64), area)
            value = alike.sum(-1) / labelled.sum(-1)[:, None]
            agreement = np.where(np.isnan(area), box_iou(one.box, poses.box.astype(np.float64)), value)
            rows, columns = linear_sum_assignment(-agreement)
            place[rows] = poses.keypoint[columns]
            best = np.zeros(len(one.box))
            best[rows] = value[rows, columns]
            oks += best.tolist()
        else:
            oks += [0.0] * len(one.box)
        torso = np.linalg.norm(one.joints[:, SHOULDER] - one.joints[:, HIP], axis=-1)[:, None]
        close = np.linalg.norm(place - one.joints, axis=-1) <= NEAR * torso
        near += list(close[labelled & ~np.isnan(torso)])
    return Score(np.array(oks), np.array(near), seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with coco_val2017 and lsp_extended")
    parser.add_argument(
        "--network",
        action="append",
        required=True,
        metavar="ESTIMATOR[+DETECTOR]",
        help="network to measure; repeat it for several",
    )
    parser.add_argument(
        "--joints", type=int, default=10, help="fewest labelled joints of a person of COCO (default: %(default)s)"
    )
    parser.add_argument(
        "--tiles",
        default="auto",
        choices=("auto", "always", "never"),
        help="as in skelpipe extract (default: %(default)s)",
    )
    parser.add_argument(
        "--flip-test", action="store_true", help="average with the mirrored image, as in skelpipe extract"
    )
    parser.add_argument("--limit", type=int, help="most images of each data set (default: all)")
    arguments = parser.parse_args()
    options = NetworkOptions(Engine(device="cpu"), flip_test=arguments.flip_test, tiles=arguments.tiles)
    coco = read_coco(arguments.data / "coco_val2017", arguments.joints)[: arguments.limit]
    lsp = read_lsp(arguments.data / "lsp_extended")[: arguments.limit]
    print(f"{len(coco)} images with {sum(len(one.box) for one in coco)} people of COCO, {len(lsp)} images of LSP")
    print("| network | boxes | mean OKS, COCO | PCK 0.2, COCO | PCK 0.2, LSP | images/s |")
    print("|---|---|---|---|---|---|")
    for network in arguments.network:
        for boxes in ("own", "true"):
            scores = []
            for images in (coco, lsp):
                extractor = load(network, options, TrueBoxes(images) if boxes == "true" else None)
                scores.append(compare(images, *estimate(extractor, images)))
            rate = (len(coco) + len(lsp)) / sum(score.seconds for score in scores)
            print(
                f"| {'+'.join(Path(part).stem for part in network.split('+'))} | {boxes} | {scores[0].oks.mean():.3f} "
                f"| {100 * scores[0].near.mean():.1f} | {100 * scores[1].near.mean():.1f} | {rate:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
