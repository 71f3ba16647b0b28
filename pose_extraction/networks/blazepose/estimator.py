"""BlazePose: a detector and a landmark network, for one or a few persons near the camera.

Bazarevsky et al., "BlazePose: On-device Real-time Body Pose Tracking", 2020. The order of the steps in a video is in
`pose_extraction.streaming.regions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pose_extraction.engines.image_networks import ImageNetwork
from pose_extraction.networks.blazepose import landmarks, persons
from pose_extraction.networks.blazepose.landmarks import BODY, Landmarks, average_with_mirrored, decode_landmarks
from pose_extraction.networks.blazepose.persons import Persons, decode_persons, in_frame, merged, tiles, whole_frame
from pose_extraction.networks.blazepose.regions import Regions, cut_out
from pose_extraction.networks.detection import Detections
from pose_extraction.oks import OUTLINE_SHARE, box_area, oks_matrix, pose_bounds

# Lowest score of a person for the detector, and lowest probability that a square shows a person. As in BlazePose.
PERSON_THRESHOLD = 0.5
# Poses more alike than this show one person.
SAME_PERSON_OKS = 0.6
# A pose from the previous frame is preferred to a new one of the same person, unless that is so much more probable.
TRACKED_BONUS = 0.1
# The body reaches this much further than its landmarks, which lie inside it, as a fraction of their extent.
BOX_MARGIN = 0.08


@dataclass(frozen=True)
class Candidates:
    """Persons to look at in one frame.

    Args:
        regions: Their squares.
        tracked: bool (N,), whether the square follows from landmarks, so that one look is enough.
        from_boxes: Whether the squares of the others follow from boxes, so that it is unknown how the persons are
            turned.
    """

    regions: Regions
    tracked: np.ndarray
    from_boxes: bool = False


class BlazePoseEstimator:
    """BlazePose's networks, with cropping and decoding.

    Args:
        finder: The detector, for images of `persons.INPUT` pixels; returns geometry and logits.
        looker: The landmark network, for images of `landmarks.INPUT` pixels; returns values and the person's
            probability.
        flip_test: Whether to average the landmarks with those of the mirrored square; takes twice the time.
        tiles: Whether the detector also searches tiles of the frame: "always", "never", or "auto", where it finds
            nobody in the whole frame.
        score_threshold: Lowest score of a person for the detector, in (0, 1).
    """

    def __init__(
        self,
        finder: ImageNetwork,
        looker: ImageNetwork,
        *,
        flip_test: bool = False,
        tiles: str = "auto",
        score_threshold: float = PERSON_THRESHOLD,
    ) -> None:
        self.tiles = tiles
        self._finder, self._looker = finder, looker
        self._flip_test, self._threshold = flip_test, score_threshold

    @property
    def frame_batch(self) -> int:
        """Number of frames that fill a batch of the detector."""
        return self._finder.batch_size

    @property
    def persons_per_batch(self) -> int:
        """Number of persons that fill a batch of the landmark network."""
        return max(1, self._looker.batch_size // 2) if self._flip_test else self._looker.batch_size

    def find(self, images: Sequence[np.ndarray]) -> list[Persons]:
        """Detect persons in whole frames, and in their tiles if that is always done.

        Args:
            images: uint8 (H, W, 3) BGR frames.

        Returns:
            The persons in each frame, in pixels.
        """
        squares = [whole_frame(image.shape[:2]) for image in images]
        if self.tiles == "always":
            squares = [
                Regions.joined([square, tiles(image.shape[:2])]) for square, image in zip(squares, images, strict=True)
            ]
        return self._search(images, squares)

    def find_small(self, images: Sequence[np.ndarray]) -> list[Persons]:
        """Detect persons in the tiles of frames. Arguments and result as `find`."""
        return self._search(images, [tiles(image.shape[:2]) for image in images])

    def _search(self, images: Sequence[np.ndarray], squares: Sequence[Regions]) -> list[Persons]:
        crops = [cut_out(image, square, persons.INPUT) for image, square in zip(images, squares, strict=True)]
        outputs = _in_batches(self._finder, np.concatenate(crops)) if crops else []
        found, first = [], 0
        for square in squares:
            rows = range(len(square))
            parts = [
                in_frame(
                    decode_persons(outputs[0][first + row], outputs[1][first + row, :, 0], self._threshold),
                    square[row : row + 1],
                )
                for row in rows
            ]
            first += len(square)
            found.append(merged(parts))
        return found

    def _turned(self, image: np.ndarray, candidates: Candidates) -> tuple[np.ndarray, Regions]:
        """Return the rows of persons whom the detector sees in the squares around their boxes, and better squares."""
        fresh = np.flatnonzero(~candidates.tracked) if candidates.from_boxes else np.zeros(0, np.int64)
        rows, regions = [], []
        for row in fresh:
            square = candidates.regions[row : row + 1]
            (seen,) = self._search([image], [square])
            if len(seen):
                nearest = np.argmin(np.linalg.norm(seen.regions.centre - square.centre, axis=1))
                rows.append(row)
                regions.append(seen.regions[nearest : nearest + 1])
        return np.array(rows, np.int64), Regions.joined(regions)

    def look(self, images: Sequence[np.ndarray], regions: Sequence[Regions]) -> list[Landmarks]:
        """Estimate the landmarks of persons.

        Args:
            images: uint8 (H, W, 3) BGR frames.
            regions: The squares in each frame.

        Returns:
            The landmarks in each frame, in its pixels.
        """
        crops = np.concatenate(
            [cut_out(image, squares, landmarks.INPUT) for image, squares in zip(images, regions, strict=True)]
        )
        marks = self._landmarks(crops)
        first, found = 0, []
        for squares in regions:
            found.append(marks[first : first + len(squares)].in_frame(squares))
            first += len(squares)
        return found

    def _landmarks(self, crops: np.ndarray) -> Landmarks:
        if not len(crops):
            return decode_landmarks(np.zeros((0, landmarks.POINTS * landmarks.VALUES)), np.zeros(0))
        if not self._flip_test:
            return decode_landmarks(*_in_batches(self._looker, crops)[:2])
        both = decode_landmarks(*_in_batches(self._looker, np.concatenate([crops, crops[:, :, ::-1]]))[:2])
        return average_with_mirrored(both[: len(crops)], both[len(crops) :])

    def poses(self, images: Sequence[np.ndarray], candidates: Sequence[Candidates]) -> list[Landmarks]:
        """Estimate the persons in frames, each once.

        New persons get a second look at the square that follows from the landmarks of the first. Where only their boxes
        are known, the first look is at the upright square and at the one that the detector suggests inside it; the more
        probable one counts.

        Args:
            images: uint8 (H, W, 3) BGR frames.
            candidates: Persons to look at in each frame.

        Returns:
            The persons in each frame, in its pixels, those from the previous frame first.
        """
        first = self.look(images, [one.regions for one in candidates])
        turned = [self._turned(image, one) for image, one in zip(images, candidates, strict=True)]
        for row, marks in enumerate(self.look(images, [regions for _, regions in turned])):
            better = marks.person > first[row].person[turned[row][0]]
            first[row] = first[row].replaced(turned[row][0][better], marks[better])
        fresh = [
            marks[~one.tracked & (marks.person >= PERSON_THRESHOLD)]
            for one, marks in zip(candidates, first, strict=True)
        ]
        second = self.look(images, [marks.next_regions for marks in fresh])
        found = []
        for one, before, after in zip(candidates, first, second, strict=True):
            marks = before[one.tracked].joined(after)
            found.append(marks[distinct(marks, np.arange(len(marks)) < one.tracked.sum())])
        return found


def _in_batches(network: ImageNetwork, images: np.ndarray) -> list[np.ndarray]:
    size = network.batch_size
    batches = [network(images[first : first + size]) for first in range(0, len(images), size)]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def boxes_of(marks: Landmarks) -> np.ndarray:
    """Return boxes float32 (N, 4), x1 y1 x2 y2 in pixels, around persons."""
    bounds = pose_bounds(marks.place[:, :BODY]).reshape(-1, 4)
    margin = BOX_MARGIN * (bounds[:, 2:] - bounds[:, :2])
    return np.concatenate([bounds[:, :2] - margin, bounds[:, 2:] + margin], 1).astype(np.float32)


def distinct(marks: Landmarks, tracked: np.ndarray) -> np.ndarray:
    """Return the rows of landmarks that show a person, each person once.

    Args:
        marks: N candidates in pixels of the frame.
        tracked: bool (N,), whether a candidate comes from the previous frame.

    Returns:
        int64 (K,), in ascending order.
    """
    area = box_area(boxes_of(marks)) * OUTLINE_SHARE
    alike = oks_matrix(marks.coco[0], marks.coco[0], np.maximum(area, 1.0))
    kept: list[int] = []
    for row in np.argsort(-(marks.person + TRACKED_BONUS * tracked), kind="stable"):
        if marks.person[row] >= PERSON_THRESHOLD and not (alike[kept, row] > SAME_PERSON_OKS).any():
            kept.append(int(row))
    return np.sort(np.array(kept, np.int64))


class BlazePoseDetector:
    """BlazePose as a person detector for other estimators: boxes around its landmarks.

    Args:
        estimator: The networks.
    """

    def __init__(self, estimator: BlazePoseEstimator) -> None:
        self._estimator = estimator
        self.batch_size = estimator.frame_batch

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """See `PersonDetector.detect`."""
        found = []
        for image, marks in zip(images, single_frames(self._estimator, images), strict=True):
            height, width = image.shape[:2]
            box = np.clip(boxes_of(marks), 0, np.array([width, height, width, height], np.float32))
            order = np.argsort(-marks.person, kind="stable")
            found.append((box[order], marks.person[order].astype(np.float32)))
        return found


def single_frames(estimator: BlazePoseEstimator, images: Sequence[np.ndarray]) -> list[Landmarks]:
    """Estimate the persons in frames that do not belong together.

    Args:
        estimator: The networks.
        images: uint8 (H, W, 3) BGR frames.

    Returns:
        The persons in each frame, in its pixels.
    """
    found = estimator.find(images)
    if estimator.tiles == "auto":
        empty = [row for row, one in enumerate(found) if not len(one)]
        for row, one in zip(empty, estimator.find_small([images[row] for row in empty]), strict=True):
            found[row] = one
    return estimator.poses(images, [Candidates(one.regions, np.zeros(len(one), bool)) for one in found])
