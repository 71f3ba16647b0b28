"""BlazePose's detector: anchors, decoding, suppression and tiles, against plain loops in float64."""

import numpy as np
import pytest

from pose_extraction.networks.blazepose.persons import (
    Persons,
    anchors,
    decode_persons,
    in_frame,
    merged,
    tiles,
    whole_frame,
)
from pose_extraction.networks.blazepose.regions import Regions


def plain_anchors() -> list[tuple[float, float]]:
    """Centres of the anchors: strides 8 and 16 with two in a cell, stride 32 with six, row by row."""
    found = []
    for stride, copies in ((8, 2), (16, 2), (32, 6)):
        cells = 224 // stride
        for row in range(cells):
            for column in range(cells):
                found += [((column + 0.5) / cells, (row + 0.5) / cells)] * copies
    return found


def test_anchors_equal_the_plain_ones() -> None:
    np.testing.assert_allclose(anchors(), plain_anchors())
    assert anchors().shape == (2254, 2)


def test_decoding_equals_plain_arithmetic() -> None:
    rng = np.random.default_rng(0)
    geometry = rng.normal(0, 30, (2254, 12)).astype(np.float32)
    logit = rng.normal(-4, 2, 2254).astype(np.float32)
    found = decode_persons(geometry, logit, 0.5)
    chosen = [row for row in range(2254) if 1 / (1 + np.exp(-float(logit[row]))) >= 0.5]
    assert 0 < len(chosen) == len(found)
    for place, row in enumerate(chosen):
        x, y = plain_anchors()[row]
        values = geometry[row].astype(np.float64)
        centre, half = (values[0] / 224 + x, values[1] / 224 + y), (values[2] / 448, values[3] / 448)
        box = [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]]
        np.testing.assert_allclose(found.face[place], box, atol=1e-9)
        for point in range(4):
            expected = (values[4 + 2 * point] / 224 + x, values[5 + 2 * point] / 224 + y)
            np.testing.assert_allclose(found.points[place, point], expected, atol=1e-9)
        np.testing.assert_allclose(found.score[place], 1 / (1 + np.exp(-float(logit[row]))))


def test_extreme_logits_are_scores_of_0_and_1() -> None:
    logit = np.full(2254, -1e30, np.float32)
    logit[7] = 1e30
    found = decode_persons(np.zeros((2254, 12), np.float32), logit, 0.5)
    np.testing.assert_array_equal(found.score, [1])


def persons(*rows: tuple[float, float, float]) -> Persons:
    """Faces of 10 pixels at (x, y), with points on the diagonal below, and a score."""
    face = np.array([(x, y, x + 10, y + 10) for x, y, _ in rows], float)
    points = np.array([[(x + step, y + step) for step in range(4)] for x, y, _ in rows], float)
    return Persons(face, points, np.array([score for *_, score in rows]))


def test_overlapping_faces_are_averaged_by_score_and_others_stay() -> None:
    found = merged([persons((0, 0, 0.6), (100, 0, 0.7)), persons((2, 0, 0.9), (0, 30, 0.8))])
    np.testing.assert_allclose(found.score, [0.9, 0.8, 0.7])
    weighted = (0.9 * 2 + 0.6 * 0) / 1.5
    np.testing.assert_allclose(found.face[0], [weighted, 0, weighted + 10, 10])
    np.testing.assert_allclose(found.points[0, 3], [weighted + 3, 3])
    np.testing.assert_allclose(found.face[1:, :2], [[0, 30], [100, 0]])


def test_nobody_is_merged_to_nobody() -> None:
    empty = merged([Persons(np.zeros((0, 4)), np.zeros((0, 4, 2)), np.zeros(0))])
    assert len(empty) == 0 and len(empty.regions) == 0


def test_persons_move_with_their_square() -> None:
    square = Regions(np.array([[50.0, 40.0]]), np.array([20.0]), np.zeros(1))
    inside = Persons(np.array([[0.0, 0.0, 1.0, 0.5]]), np.full((1, 4, 2), 0.75), np.ones(1))
    found = in_frame(inside, square)
    np.testing.assert_allclose(found.face, [[40, 30, 60, 40]])
    np.testing.assert_allclose(found.points, np.full((1, 4, 2), [[55, 45]]))


@pytest.mark.parametrize("size", [(1080, 1920), (1920, 1080), (480, 640), (144, 180), (100, 100), (90, 400)])
def test_every_person_of_up_to_half_a_tile_lies_entirely_in_a_tile(size: tuple[int, int]) -> None:
    squares = tiles(size)
    low, high = squares.centre - squares.side[:, None] / 2 + 0.5, squares.centre + squares.side[:, None] / 2 + 0.5
    assert low.min() >= -1e-6 and (high <= np.array(size[::-1]) + 1e-6).all()
    rng = np.random.default_rng(0)
    for side in np.unique(squares.side.round(6)):
        same = np.isclose(squares.side, side)
        extent = side / 2
        for corner in rng.uniform(0, np.array(size[::-1]) - extent, (200, 2)):
            inside = (low[same] <= corner).all(1) & (high[same] >= corner + extent).all(1)
            assert inside.any()


def test_the_whole_frame_lies_in_its_square() -> None:
    square = whole_frame((100, 300))
    np.testing.assert_allclose(
        square.to_frame(np.array([[[0.0, 0.0], [1.0, 1.0]]]))[0], [[-0.5, -100.5], [299.5, 199.5]]
    )
