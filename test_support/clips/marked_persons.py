"""BlazePose's networks for drawn persons: discs whose colours tell where the hips are, and the point above them.

A person is a red disc at the middle of the hips and a green disc at the point that gives size and turn. The networks
are plain image processing behind the inputs and outputs of the real ones, so that tests need no weights.
"""

import cv2
import numpy as np

from pose_extraction.networks.blazepose.estimator import BlazePoseEstimator
from pose_extraction.networks.blazepose.persons import INPUT as FINDER_SIZE
from pose_extraction.networks.blazepose.persons import anchors

# Discs with fewer pixels than this are invisible to the detector.
FEWEST_PIXELS = 12
# Where each of the 33 landmarks of the body lies between hips and the point above, and to the side, in such distances.
ALONG, ASIDE = np.linspace(-0.9, 0.9, 33), np.where(np.arange(33) % 2, 0.25, -0.25)

Person = tuple[tuple[float, float], tuple[float, float]]


def draw(size: tuple[int, int], persons: list[Person], radius: int = 5) -> np.ndarray:
    """Draw persons, (hips, reach) in pixels each, on a grey frame: uint8 (H, W, 3) BGR."""
    image = np.full((*size, 3), 90, np.uint8)
    for hips, reach in persons:
        for (x, y), colour in ((reach, (0, 255, 0)), (hips, (0, 0, 255))):
            cv2.circle(image, (round(8 * x), round(8 * y)), 8 * radius, colour, -1, cv2.LINE_AA, 3)
    return image


def landmarks_of(hips: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Places (39, 2) of the landmarks of a person, in the coordinates of the two points."""
    up = reach - hips
    side = np.array([-up[1], up[0]])
    body = hips + ALONG[:, None] * up + ASIDE[:, None] * side
    return np.concatenate([body, [hips, reach], np.tile(hips, (4, 1))])


def _discs(image: np.ndarray, channel: int) -> list[tuple[np.ndarray, float]]:
    """Centres and numbers of pixels of the discs of one colour, by size."""
    others = [one for one in range(3) if one != channel]
    mask = (image[..., channel] > 150) & (image[..., others].max(-1) < 80)
    _, _, stats, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    found = [(centres[row], float(stats[row, cv2.CC_STAT_AREA])) for row in range(1, len(stats))]
    return sorted(found, key=lambda one: -one[1])


def _pairs(image: np.ndarray, fewest: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(hips, reach) of the persons in an image: each red disc with the nearest green one."""
    green = [centre for centre, pixels in _discs(image, 1) if pixels >= fewest]
    red = [centre for centre, pixels in _discs(image, 2) if pixels >= fewest]
    return [(one, min(green, key=lambda other: np.linalg.norm(other - one))) for one in red] if green else []


class Finder:
    """The detector; records how many images it has seen."""

    def __init__(self, batch_size: int = 1) -> None:
        self.batch_size = batch_size
        self.images = 0

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        assert images.shape[1:] == (FINDER_SIZE, FINDER_SIZE, 3) and len(images) <= self.batch_size
        self.images += len(images)
        geometry = np.zeros((len(images), len(anchors()), 12), np.float32)
        logit = np.full((len(images), len(anchors()), 1), -20, np.float32)
        for row, image in enumerate(images):
            for hips, reach in _pairs(image, FEWEST_PIXELS):
                face = (hips + 0.7 * (reach - hips) + 0.5) / FINDER_SIZE
                points = [(point + 0.5) / FINDER_SIZE for point in (hips, reach, hips, reach)]
                nearest = int(np.argmin(np.linalg.norm(anchors() - face, axis=1)))
                size = np.full(2, 0.2 * np.linalg.norm(reach - hips))
                relative = [FINDER_SIZE * (one - anchors()[nearest]) for one in (face, *points)]
                geometry[row, nearest] = np.concatenate([relative[0], size, *relative[1:]])
                logit[row, nearest] = 5
        return [geometry, logit]


class Looker:
    """The landmark network: the person nearest to the centre; records the number of images in each call."""

    def __init__(self, batch_size: int = 1) -> None:
        self.batch_size = batch_size
        self.calls: list[int] = []

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        assert images.shape[1:] == (256, 256, 3) and len(images) <= self.batch_size
        self.calls.append(len(images))
        raw = np.zeros((len(images), 39, 5), np.float32)
        raw[..., 3:] = 8
        person = np.zeros((len(images), 1), np.float32)
        for row, image in enumerate(images):
            pairs = [pair for pair in _pairs(image, 3) if np.linalg.norm(pair[0] - 127.5) < 80]
            if pairs:
                hips, reach = min(pairs, key=lambda pair: np.linalg.norm(pair[0] - 127.5))
                raw[row, :, :2] = landmarks_of(hips, reach) + 0.5
                person[row] = 0.95
        return [raw.reshape(len(images), 195), person]


def estimator(batch_size: int = 1, frame_batch: int = 1, *, tiles: str = "auto") -> BlazePoseEstimator:
    """BlazePose with these networks."""
    return BlazePoseEstimator(Finder(frame_batch), Looker(batch_size), tiles=tiles)


def finder_of(network: BlazePoseEstimator) -> Finder:
    """Return the detector of an `estimator`, which counts its images."""
    assert isinstance(network._finder, Finder)
    return network._finder


def looker_of(network: BlazePoseEstimator) -> Looker:
    """Return the landmark network of an `estimator`, which records the sizes of its batches."""
    assert isinstance(network._looker, Looker)
    return network._looker
