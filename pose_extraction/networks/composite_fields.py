"""Decode composite fields, the raw output of an OpenPifPaf network, into persons.

In each cell, a composite intensity field (CIF) encodes the confidence and position of a joint, and a composite
association field (CAF) the two ends of a bone. Persons are grown from the most confident joints along the bones (Kreiss
et al., "OpenPifPaf", 2021, section III). Growing uses openpifpaf's compiled decoder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from pose_extraction.errors import BackendError

# Raw values per cell. CIF: width, confidence, x, y, scale. CAF: width, confidence, x1, y1, x2, y2, scale1, scale2.
CIF_CHANNELS, CAF_CHANNELS = 5, 8
CONFIDENCE = 1

# Static members of the C++ decoder. They are shared by the whole process, so other users of the library may have
# changed them. These are the library's defaults.
DECODER_SETTINGS = {
    ("openpifpaf_decoder", "CifCaf"): {
        "block_joints": False,
        "force_complete": False,
        "greedy": False,
        "keypoint_threshold": 0.15,
        "keypoint_threshold_rel": 0.5,
        "reverse_match": True,
    },
    ("openpifpaf_decoder_utils", "CifHr"): {"ablation_skip": False, "neighbors": 16, "threshold": 0.3},
    ("openpifpaf_decoder_utils", "CifSeeds"): {"ablation_nms": False, "ablation_no_rescore": False, "threshold": 0.2},
    ("openpifpaf_decoder_utils", "CafScored"): {"ablation_no_rescore": False, "default_score_th": 0.3},
    ("openpifpaf_decoder_utils", "NMSKeypoints"): {
        "instance_threshold": 0.15,
        "keypoint_threshold": 0.15,
        "suppression": 1e-5,
    },
}


@contextmanager
def _old_colour_maps() -> Iterator[None]:
    """Gives matplotlib back `cm.get_cmap`, which openpifpaf's visualisation calls when it is imported.

    matplotlib 3.9 removed the function. Nothing here uses the visualisation, but the package imports it.
    """
    import matplotlib
    import matplotlib.cm

    # Any: stubs of some releases have the function, and others do not.
    maps: Any = matplotlib.cm
    if hasattr(maps, "get_cmap"):
        yield
        return
    maps.get_cmap = matplotlib.colormaps.__getitem__
    try:
        yield
    finally:
        del maps.get_cmap


def load_library() -> ModuleType:
    """Import openpifpaf (AGPL-3.0), which registers its compiled decoder with torch.

    Returns:
        The package.

    Raises:
        BackendError: The package is not installed, or was compiled for another version of torch.
    """
    try:
        with _old_colour_maps():
            import openpifpaf
            import openpifpaf.plugins.coco
    except (ImportError, OSError) as error:
        raise BackendError(
            f"openpifpaf cannot be imported ({error}): install it as described in "
            "docs/installation.md#openpifpaf, and reinstall it after every change of torch, for which it is compiled"
        ) from error
    return openpifpaf


def activate(raw: np.ndarray) -> np.ndarray:
    """Convert the raw field values of one frame into the decoder's input: confidence, position and scale in cells.

    This runs outside the network, in float32, whatever the precision of the network: a position is the index of a cell
    plus a fraction, and bfloat16 has a resolution of only half a cell at index 80.

    Args:
        raw: float (F, C, h, w), with C = 5 (CIF) or 8 (CAF), see `CIF_CHANNELS`; not modified.

    Returns:
        float32 (F, C, h, w).
    """
    field = raw.astype(np.float32)
    ends = 1 if field.shape[1] == CIF_CHANNELS else 2
    field[:, CONFIDENCE] = expit(field[:, CONFIDENCE])
    row, column = np.indices(field.shape[2:], np.float32)
    for end in range(ends):
        field[:, CONFIDENCE + 1 + 2 * end] += column
        field[:, CONFIDENCE + 2 + 2 * end] += row
    scale = field[:, -ends:]
    # Softplus without overflow.
    field[:, -ends:] = np.maximum(scale, 0) + np.log1p(np.exp(-np.abs(scale)))
    return field


@dataclass(frozen=True, slots=True)
class DecodedPersons:
    """M persons in pixels of the network input, sorted by descending score.

    Args:
        point: float32 (M, 17, 2), NaN for undetected joints.
        score: float32 (M, 17) in [0, 1], 0 for undetected joints.
        radius: float32 (M, 17), size of the joints in pixels.
        person_score: float32 (M,) in [0, 1], mean of the joint scores in which the three highest have triple weight.
    """

    point: np.ndarray
    score: np.ndarray
    radius: np.ndarray
    person_score: np.ndarray


class CompositeFieldDecoder:
    """openpifpaf's decoder for the 17 COCO joints. It is thread-safe.

    Raises:
        BackendError: openpifpaf is not installed or cannot be imported.
    """

    def __init__(self) -> None:
        constants = load_library().plugins.coco.constants
        torch.ops.openpifpaf.set_quiet(True)  # Otherwise it writes a line to stderr for every allocated buffer.
        for (library, name), settings in DECODER_SETTINGS.items():
            compiled = getattr(getattr(torch.classes, library), name)
            for setting, value in settings.items():
                getattr(compiled, f"set_{setting}")(value)
        self._bones = torch.tensor(constants.COCO_PERSON_SKELETON) - 1
        weight = np.array(constants.COCO_PERSON_SCORE_WEIGHTS, np.float32)
        self._score_weight = weight / weight.sum()

    def __call__(self, cif: np.ndarray, caf: np.ndarray, stride: int) -> DecodedPersons:
        """Decode the raw fields of one frame.

        The number of cells (3807 for an input of 641 x 369) bounds the computing time: milliseconds for real poses,
        0.4 s for the worst fields found.

        Args:
            cif: float (17, 5, h, w), see `CIF_CHANNELS`.
            caf: float (19, 8, h, w).
            stride: Size of a cell in pixels of the network input.

        Returns:
            The persons.
        """
        # Creating a decoder takes a millisecond. A reused one adds a counter to the confidence map instead of clearing
        # it, and the rounding makes the result of a frame depend on the number of frames before it.
        compiled = torch.classes.openpifpaf_decoder.CifCaf(len(self._score_weight), self._bones)
        # This releases the GIL, so threads decode concurrently.
        decoded, _ = compiled.call(torch.from_numpy(activate(cif)), stride, torch.from_numpy(activate(caf)), stride)
        decoded = decoded.numpy()  # (M, 17, 4): score, x, y, radius
        score = np.clip(decoded[..., 0], 0, 1)
        point = np.where(score[..., None] > 0, decoded[..., 1:3], np.float32(np.nan))
        person_score = np.sort(score, 1)[:, ::-1] @ self._score_weight
        return DecodedPersons(point, score, decoded[..., 3], person_score)
