"""BlazePose's landmark network: from its output for the square of a person to the joints of COCO-17.

The network (Bazarevsky et al. 2020) returns 39 points: 33 of the body, two from which the square of the next frame
follows, and four without use here. Each has a place, a logit of being visible, and a logit of being in the square.
"""

from dataclasses import dataclass

import numpy as np

from pose_extraction.networks.blazepose.regions import Regions, regions_of_persons

# Side of the network's input in pixels.
INPUT = 256
POINTS, VALUES = 39, 5
BODY = 33
# The middle of the hips and the point above it on the circle around the body.
HIPS, REACH = 33, 34
# The landmark of each joint of COCO-17.
COCO = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
# The landmark on the other side of the body.
MIRRORED = (
    *(0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9),
    *(landmark for left in range(11, BODY, 2) for landmark in (left + 1, left)),
    *range(BODY, POINTS),
)


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of N persons.

    Args:
        place: float64 (N, 39, 2), in sides of the square, or in pixels of the frame.
        score: float64 (N, 39) in [0, 1]: probability that a point is visible and lies in the square.
        person: float64 (N,) in [0, 1], probability that the square shows a person.
    """

    place: np.ndarray
    score: np.ndarray
    person: np.ndarray

    def __len__(self) -> int:
        return len(self.person)

    def __getitem__(self, rows: np.ndarray | slice) -> "Landmarks":
        return Landmarks(self.place[rows], self.score[rows], self.person[rows])

    def joined(self, other: "Landmarks") -> "Landmarks":
        """Return these persons and others."""
        return Landmarks(
            np.concatenate([self.place, other.place]),
            np.concatenate([self.score, other.score]),
            np.concatenate([self.person, other.person]),
        )

    def replaced(self, rows: np.ndarray, other: "Landmarks") -> "Landmarks":
        """Return the landmarks with some rows replaced.

        Args:
            rows: int (R,), rows of these landmarks.
            other: R landmarks, in the order of `rows`.
        """
        place, score, person = self.place.copy(), self.score.copy(), self.person.copy()
        place[rows], score[rows], person[rows] = other.place, other.score, other.person
        return Landmarks(place, score, person)

    def in_frame(self, regions: Regions) -> "Landmarks":
        """Move landmarks from their squares to pixels of the frame."""
        return Landmarks(regions.to_frame(self.place), self.score, self.person)

    @property
    def next_regions(self) -> Regions:
        """The squares that show the same persons better, or in the next frame; of landmarks in pixels of a frame."""
        return regions_of_persons(self.place[:, HIPS], self.place[:, REACH])

    @property
    def coco(self) -> tuple[np.ndarray, np.ndarray]:
        """Places float32 (N, 17, 2) and scores float32 (N, 17) of the joints of COCO-17."""
        joints = list(COCO)
        return self.place[:, joints].astype(np.float32), self.score[:, joints].astype(np.float32)


def decode_landmarks(raw: np.ndarray, person: np.ndarray) -> Landmarks:
    """Decode the output of the landmark network.

    Args:
        raw: (N, 195), for each point x, y and z in input pixels, and the logits of visibility and presence.
        person: (N,) or (N, 1), probability that the square shows a person.

    Returns:
        Landmarks in sides of the square.
    """
    values = raw.astype(np.float64).reshape(-1, POINTS, VALUES)
    chance = 1 / (1 + np.exp(-np.clip(values[..., 3:], -100, 100)))
    return Landmarks(values[..., :2] / INPUT, chance.prod(-1), person.astype(np.float64).reshape(-1))


def average_with_mirrored(direct: Landmarks, mirrored: Landmarks) -> Landmarks:
    """Average landmarks with those of the mirrored squares; both in sides of their square."""
    swapped = list(MIRRORED)
    place = mirrored.place[:, swapped] * [-1, 1] + [1, 0]
    return Landmarks(
        (direct.place + place) / 2,
        (direct.score + mirrored.score[:, swapped]) / 2,
        (direct.person + mirrored.person) / 2,
    )
