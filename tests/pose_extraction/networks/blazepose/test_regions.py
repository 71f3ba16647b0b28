"""Squares around persons: from points and boxes, to the frame and back, and cut out of a frame."""

import cv2
import numpy as np
import pytest

from pose_extraction.networks.blazepose.regions import Regions, cut_out, regions_of_boxes, regions_of_persons


def one(x: float, y: float, side: float, degrees: float) -> Regions:
    return Regions(np.array([[x, y]]), np.array([side]), np.array([np.deg2rad(degrees)]))


def test_a_standing_person_is_not_turned_and_one_lying_to_the_right_is_turned_by_90_degrees() -> None:
    hips = np.array([[100.0, 100.0]] * 3)
    reach = np.array([[100.0, 60.0], [140.0, 100.0], [100.0, 140.0]])
    regions = regions_of_persons(hips, reach)
    np.testing.assert_allclose(regions.centre, hips)
    np.testing.assert_allclose(regions.side, 2.5 * 40)
    np.testing.assert_allclose(np.rad2deg(regions.angle), [0, 90, 180])


@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, -135.0])
def test_the_reach_lies_above_the_hips_in_the_square(degrees: float) -> None:
    up = 40 * np.array([np.sin(np.deg2rad(degrees)), -np.cos(np.deg2rad(degrees))])
    regions = regions_of_persons(np.array([[70.0, 90.0]]), np.array([[70.0, 90.0]]) + up)
    seen = regions.to_frame(np.array([[[0.5, 0.5], [0.5, 0.1]]]))
    np.testing.assert_allclose(seen[0], [[70, 90], [70 + up[0], 90 + up[1]]], atol=1e-9)


def test_points_are_mapped_as_a_plain_rotation_maps_them() -> None:
    rng = np.random.default_rng(0)
    regions = Regions(rng.uniform(0, 500, (4, 2)), rng.uniform(50, 300, 4), rng.uniform(-3, 3, 4))
    points = rng.uniform(0, 1, (4, 7, 2))
    expected = np.empty_like(points)
    for row in range(4):
        for column in range(7):
            x, y = (points[row, column] - 0.5) * regions.side[row]
            cos, sin = np.cos(regions.angle[row]), np.sin(regions.angle[row])
            expected[row, column] = regions.centre[row] + [cos * x - sin * y, sin * x + cos * y]
    np.testing.assert_allclose(regions.to_frame(points), expected)


def spot(x: float, y: float, size: tuple[int, int], sigma: float = 3.0) -> np.ndarray:
    row, column = np.mgrid[: size[0], : size[1]]
    bright = 250 * np.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * sigma**2))
    return np.repeat(bright.astype(np.uint8)[..., None], 3, -1)


@pytest.mark.parametrize("degrees", [0.0, 25.0, 90.0, 180.0, -100.0])
@pytest.mark.parametrize("side", [60.0, 150.0, 700.0])
def test_what_is_cut_out_is_found_again_in_the_frame(degrees: float, side: float) -> None:
    x, y, size = 131.3, 117.8, 128
    image = spot(x, y, (240, 320), sigma=max(3.0, side / 60))
    region = one(140.0, 120.0, side, degrees)
    crop = cut_out(image, region, size)[0, ..., 0].astype(np.float64)
    row, column = np.mgrid[:size, :size]
    place = np.array([(crop * column).sum(), (crop * row).sum()]) / crop.sum()
    # Pixels of the crop have their centres half a pixel from its border.
    found = region.to_frame(((place + 0.5) / size)[None, None])[0, 0]
    np.testing.assert_allclose(found, [x, y], atol=0.02 * side / 10)


def test_a_large_square_is_averaged_so_that_no_pixel_is_lost() -> None:
    image = np.zeros((1024, 1024, 3), np.uint8)
    image[::2] = 255
    crop = cut_out(image, one(511.5, 511.5, 1024.0, 0.0), 128)[0]
    assert abs(crop.astype(float).mean() - 127.5) < 2 and crop.std() < 10


def test_outside_the_frame_it_is_black() -> None:
    crop = cut_out(np.full((50, 50, 3), 255, np.uint8), one(24.5, 24.5, 100.0, 0.0), 100)[0]
    assert crop[:23].max() == 0 and crop[27:73, 27:73].min() == 255
    assert cut_out(np.full((50, 50, 3), 255, np.uint8), one(900.0, 24.5, 700.0, 40.0), 100).max() == 0


def test_cutting_an_unturned_square_equals_resizing_it() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    crop = cut_out(image, one(31.5, 31.5, 64.0, 0.0), 128)[0]
    expected = cv2.resize(image, (128, 128), interpolation=cv2.INTER_LINEAR)
    assert np.abs(crop[2:-2, 2:-2].astype(int) - expected[2:-2, 2:-2]).max() <= 2


def test_a_box_gives_a_square_around_it() -> None:
    regions = regions_of_boxes(np.array([[10, 20, 50, 120], [0, 0, 200, 50]], np.float32))
    np.testing.assert_allclose(regions.centre, [[30, 70], [100, 25]])
    np.testing.assert_allclose(regions.side, [125, 250])
    assert len(regions_of_boxes(np.zeros((0, 4)))) == 0
