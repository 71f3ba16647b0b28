"""Decoders compared with plain float64 loops that follow their definitions."""

import cv2
import numpy as np
import pytest

from pose_extraction.networks.heatmaps import average_with_flipped, decode_msra, decode_simcc, decode_udp
from pose_extraction.skeleton import COCO17

pytestmark = pytest.mark.processor

SIZE = (256, 192)


def gaussians(centres: np.ndarray, sigma: float = 2.0, shape: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Heat maps (N, V, h, w) with a peak of height 0.9 at each centre (N, V, 2), in cells."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    squared = (columns - centres[..., 0, None, None]) ** 2 + (rows - centres[..., 1, None, None]) ** 2
    return (0.9 * np.exp(-squared / (2 * sigma**2))).astype(np.float32)


def test_msra_shifts_by_a_quarter_cell_towards_the_larger_neighbour() -> None:
    generator = np.random.default_rng(0)
    heatmaps = generator.random((2, 17, 64, 48)).astype(np.float32)
    # Maxima in the outermost cells, which the published decoders do not shift.
    heatmaps[0, 0, 0, 10] = heatmaps[0, 1, 63, 47] = heatmaps[0, 2, 30, 1] = heatmaps[0, 3, 1, 20] = 2
    keypoint, score = decode_msra(heatmaps, SIZE)
    for crop in range(2):
        for joint in range(17):
            plane = heatmaps[crop, joint].astype(np.float64)
            y, x = np.unravel_index(plane.argmax(), plane.shape)
            dx = np.sign(plane[y, x + 1] - plane[y, x - 1]) / 4 if 1 < x < 47 and 0 < y < 64 else 0.0
            dy = np.sign(plane[y + 1, x] - plane[y - 1, x]) / 4 if 1 < y < 63 and 0 < x < 48 else 0.0
            np.testing.assert_allclose(keypoint[crop, joint], [(x + dx) * 4, (y + dy) * 4])
            assert score[crop, joint] == np.float32(plane[y, x])


def test_udp_finds_the_centre_between_cells() -> None:
    centres = np.random.default_rng(1).uniform([8, 8], [40, 55], (3, 17, 2))
    keypoint, score = decode_udp(gaussians(centres), SIZE, blur_kernel=11)
    # The cells 0 and w - 1 are the outermost pixel centres; the published codec scales by w / (w - 1).
    np.testing.assert_allclose(keypoint, centres / [47, 63] * [192, 256], atol=0.02)
    assert (score > 0.8).all()


def test_udp_equals_a_plain_newton_step() -> None:
    heatmaps = np.random.default_rng(2).random((2, 5, 64, 48)).astype(np.float32) * 0.1
    heatmaps += gaussians(np.random.default_rng(3).uniform([0, 0], [47, 63], (2, 5, 2)))
    keypoint, _ = decode_udp(heatmaps, SIZE, blur_kernel=11)
    for crop in range(2):
        for joint in range(5):
            plane = heatmaps[crop, joint].astype(np.float64)
            y, x = np.unravel_index(plane.argmax(), plane.shape)
            smooth = cv2.GaussianBlur(np.pad(plane, 5), (11, 11), 0)[5:-5, 5:-5]
            logarithm = np.pad(np.log(np.clip(smooth * plane.max() / smooth.max(), 1e-3, 50)), 1, mode="edge")
            x, y = x + 1, y + 1
            gradient = [
                (logarithm[y, x + 1] - logarithm[y, x - 1]) / 2,
                (logarithm[y + 1, x] - logarithm[y - 1, x]) / 2,
            ]
            dxx = logarithm[y, x + 1] - 2 * logarithm[y, x] + logarithm[y, x - 1]
            dyy = logarithm[y + 1, x] - 2 * logarithm[y, x] + logarithm[y - 1, x]
            dxy = (
                logarithm[y + 1, x + 1] - logarithm[y, x + 1] - logarithm[y + 1, x] + 2 * logarithm[y, x]
                - logarithm[y, x - 1] - logarithm[y - 1, x] + logarithm[y - 1, x - 1]
            ) / 2  # fmt: skip
            step = np.linalg.solve(np.array([[dxx, dxy], [dxy, dyy]]) + np.finfo(np.float32).eps * np.eye(2), gradient)
            expected = (np.array([x - 1, y - 1]) - step) / [47, 63] * [192, 256]
            np.testing.assert_allclose(keypoint[crop, joint], expected, atol=0.02)


def test_simcc_decodes_each_axis_and_uses_the_smaller_score() -> None:
    simcc_x, simcc_y = np.zeros((1, 2, 384), np.float32), np.zeros((1, 2, 512), np.float32)
    simcc_x[0, :, 101], simcc_y[0, :, 300] = 0.8, 0.6
    simcc_y[0, 1] = 0
    keypoint, score = decode_simcc(simcc_x, simcc_y, 2.0)
    np.testing.assert_allclose(keypoint[0, 0], [50.5, 150])
    assert np.isnan(keypoint[0, 1]).all()
    np.testing.assert_allclose(score[0], [0.6, 0])


def test_a_map_without_positive_cells_has_no_joint() -> None:
    heatmaps = np.full((1, 1, 64, 48), -0.1, np.float32)
    for keypoint, score in (decode_msra(heatmaps, SIZE), decode_udp(heatmaps, SIZE, 11)):
        assert np.isnan(keypoint).all()
        assert score.item() == 0


def test_a_mirrored_crop_gives_the_same_maps() -> None:
    """Mirroring the maps of a mirrored image restores the original maps; without UDP, they are shifted by one cell."""
    centres = np.random.default_rng(4).uniform([8, 8], [38, 55], (2, 17, 2))
    direct = gaussians(centres)
    swapped = direct[:, COCO17.flip_indices]
    for shift, mirrored in ((False, swapped[..., ::-1]), (True, np.roll(swapped, -1, -1)[..., ::-1])):
        average = average_with_flipped(direct, mirrored, COCO17.flip_indices, shift=shift)
        np.testing.assert_allclose(average[..., 1:], direct[..., 1:], atol=1e-6)
