"""Training data for OpenPifPaf: frames of rendered people at many scales with their composite fields.

openpifpaf is licensed under AGPL-3.0 and imported only to train its network.
"""

from typing import Any

import numpy as np
import torch

from pose_extraction.skeleton import COCO17
from synthetic.networks.boxes import FRAMES, moved_boxes, place
from synthetic.networks.recipes import Recipe
from synthetic.rendering.family import TRAIN
from synthetic.rendering.scene import OUTSIDE, SEEN, Scene

# (height, width) of the images: 16k + 1, as the networks require.
SIZE = (193, 257)
# COCO's visibility flags: visible, and labelled but not visible.
COCO_SEEN, COCO_HIDDEN = 2.0, 1.0


class FieldsObjective:
    """The losses of openpifpaf, on fields from its own encoders.

    Args:
        recipe: Recipe of the network; `config` names its base network.
        seed: Seed of the initial weights.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        from pose_extraction.networks.composite_fields import load_library
        from pose_extraction.networks.openpifpaf_network import build_network

        library = load_library()
        shell: Any = build_network(recipe.config, seed=seed).shell
        self.network: torch.nn.Module = shell
        metas = shell.head_metas
        self._encoders = library.encoder.Cif(metas[0]), library.encoder.Caf(metas[1])
        self._loss = library.network.losses.Factory().factory(metas)
        self._size = recipe.batch

    def batch(self, seed: int, step: int) -> tuple[np.ndarray, ...]:
        """See `Objective`: images uint8 (N, H, W, 3), CIF (N, 17, 5, h, w), CAF (N, 19, 9, h, w)."""
        random = TRAIN.generator(seed, step, 13)
        pictures: list[np.ndarray] = []
        intensities, associations = [], []
        while len(pictures) < self._size:
            scene = Scene(TRAIN, int(random.integers(2**40)), frames=40)
            for index in random.choice(len(scene), FRAMES, replace=False):
                picture, truth = scene.frame(int(index))
                canvas = np.full((*SIZE, 3), 114, np.uint8)
                moved, box = place_persons(canvas, picture, truth.keypoint, truth.visibility, truth.box, random)
                annotations = [
                    {"keypoints": joints, "bbox": np.concatenate([one[:2], one[2:] - one[:2]]), "iscrowd": False}
                    for joints, one in zip(moved, box, strict=True)
                ]
                planes = torch.empty((3, *SIZE))
                targets = [encoder(planes, annotations, {}) for encoder in self._encoders]
                pictures.append(canvas)
                intensities.append(targets[0].numpy())
                associations.append(targets[1].numpy())
        count = self._size
        return np.stack(pictures[:count]), np.stack(intensities[:count]), np.stack(associations[:count])

    def loss(self, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """See `Objective`."""
        from pose_extraction.networks.openpifpaf import RGB_MEAN, RGB_STD

        picture, *targets = batch
        planes = (picture.flip(-1).float() - torch.from_numpy(RGB_MEAN)) / torch.from_numpy(RGB_STD)
        fields = self.network(planes.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last))
        total, _ = self._loss([field.float() for field in fields], targets)
        return total


def place_persons(
    canvas: np.ndarray,
    picture: np.ndarray,
    keypoint: np.ndarray,
    visibility: np.ndarray,
    box: np.ndarray,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Paste a frame, scaled, shifted and possibly mirrored, into a canvas.

    Args:
        canvas: uint8 (H, W, 3), changed in place.
        picture: uint8 (h, w, 3).
        keypoint: (M, 17, 2), pixels of `picture`.
        visibility: (M, 17), one of `scene.OUTSIDE`, `HIDDEN`, `SEEN`.
        box: (M, 4), x1 y1 x2 y2, pixels of `picture`.
        random: Random generator for scale, shift and mirroring.

    Returns:
        Joints of visible persons in COCO's format, float64 (K, 17, 3): x, y and visibility; and their boxes (K, 4).
    """
    height, width = canvas.shape[:2]
    matrix, mirrored = place(canvas, (0, 0, width, height), picture, random)
    moved = keypoint @ matrix[:, :2].T + matrix[:, 2]
    seen = np.where(visibility == SEEN, COCO_SEEN, np.where(visibility == OUTSIDE, 0.0, COCO_HIDDEN))
    if mirrored:
        moved, seen = moved[:, COCO17.flip_indices], seen[:, COCO17.flip_indices]
    seen *= ((moved >= 0) & (moved <= (width - 1, height - 1))).all(-1)
    joints = np.concatenate([moved, seen[..., None]], -1).astype(np.float64)
    return joints[(seen == COCO_SEEN).any(-1)], moved_boxes(box, matrix)[(seen == COCO_SEEN).any(-1)]
