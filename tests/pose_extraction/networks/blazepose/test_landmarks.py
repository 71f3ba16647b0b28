"""BlazePose's landmark network: decoding, the joints of COCO-17, mirrored squares, the next square."""

import numpy as np

from pose_extraction.networks.blazepose.landmarks import (
    COCO,
    MIRRORED,
    Landmarks,
    average_with_mirrored,
    decode_landmarks,
)
from pose_extraction.networks.blazepose.regions import Regions
from pose_extraction.skeleton import COCO17

# BlazePose's landmarks in their order.
FACE = ("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer")
PAIRS = "shoulder elbow wrist pinky index thumb hip knee ankle heel foot_index"
NAMES = (
    *FACE,
    *("left_ear", "right_ear", "mouth_left", "mouth_right"),
    *(f"{side}_{part}" for part in PAIRS.split() for side in ("left", "right")),
)


OTHER = {"left": "right", "right": "left"}


def test_the_joints_of_coco_are_taken_by_name() -> None:
    assert [NAMES[landmark] for landmark in COCO] == list(COCO17.joints)


def test_left_and_right_change_places_in_a_mirror() -> None:
    for landmark, name in enumerate(NAMES):
        other = NAMES[MIRRORED[landmark]]
        assert other == name.translate(str.maketrans("", "")).replace("left", "?").replace("right", "left").replace(
            "?", "right"
        )
    assert MIRRORED[33:] == tuple(range(33, 39))


def test_decoding_equals_plain_arithmetic() -> None:
    raw = np.random.default_rng(0).normal(0, 50, (3, 195)).astype(np.float32)
    marks = decode_landmarks(raw, np.array([[0.1], [0.5], [1.0]], np.float32))
    for person in range(3):
        for point in range(39):
            x, y, _, visible, present = (float(raw[person, 5 * point + value]) for value in range(5))
            np.testing.assert_allclose(marks.place[person, point], [x / 256, y / 256])
            chance = 1 / (1 + np.exp(-visible)) / (1 + np.exp(-present))
            np.testing.assert_allclose(marks.score[person, point], chance, atol=1e-12)
    np.testing.assert_allclose(marks.person, [0.1, 0.5, 1], rtol=1e-6)
    keypoint, score = marks.coco
    assert keypoint.shape == (3, 17, 2) and score.shape == (3, 17)
    assert score.min() >= 0 and score.max() <= 1
    np.testing.assert_allclose(keypoint[:, 5], marks.place[:, 11], rtol=1e-6)


def random_marks(seed: int) -> Landmarks:
    rng = np.random.default_rng(seed)
    return Landmarks(rng.uniform(0, 1, (2, 39, 2)), rng.uniform(0, 1, (2, 39)), rng.uniform(0, 1, 2))


def test_a_mirrored_person_gives_the_same_landmarks() -> None:
    direct = random_marks(0)
    order = list(MIRRORED)
    mirrored = Landmarks(direct.place[:, order] * [-1, 1] + [1, 0], direct.score[:, order], direct.person)
    averaged = average_with_mirrored(direct, mirrored)
    np.testing.assert_allclose(averaged.place, direct.place)
    np.testing.assert_allclose(averaged.score, direct.score)


def test_the_next_square_stays_where_the_person_is() -> None:
    marks = random_marks(1)
    # The hips in the middle of the square, and the second point straight above.
    marks.place[:, 33], marks.place[:, 34] = (0.5, 0.5), (0.5, 0.1)
    square = Regions(np.array([[40.0, 50.0], [60.0, 70.0]]), np.array([30.0, 80.0]), np.array([0.3, -2.0]))
    again = marks.in_frame(square).next_regions
    np.testing.assert_allclose(again.centre, square.centre)
    np.testing.assert_allclose(again.side, square.side)
    np.testing.assert_allclose(again.angle, square.angle)
