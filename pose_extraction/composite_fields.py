"""Composite fields: from a network's raw values, cell by cell, to persons.

For every cell, a composite intensity field (CIF) says how likely and where a joint is, and a composite association
field (CAF) where the two ends of a bone are. Persons grow from the strongest joints along the bones (Kreiss et al.,
"OpenPifPaf", 2021, section III). The growing is openpifpaf's own compiled decoder.
"""

from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from scipy.special import expit

from pose_extraction.errors import BackendError

# Raw values a cell: CIF has width, confidence, x, y, scale; CAF has width, confidence, x1, y1, x2, y2, scale1, scale2.
CIF_CHANNELS, CAF_CHANNELS = 5, 8
CONFIDENCE = 1

# Static members of the C++ decoder: one value for the whole process, which any other user of the library may have
# changed. These are the library's own defaults.
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


def load_library() -> ModuleType:
    """Imports openpifpaf (AGPL-3.0), which registers its compiled decoder with torch.

    Raises:
        BackendError: It is not installed, or was compiled against another torch.
    """
    try:
        import openpifpaf
        import openpifpaf.plugins.coco
    except (ImportError, OSError) as error:
        raise BackendError(
            f"the estimator openpifpaf cannot be loaded ({error}): install it as README's section OpenPifPaf says, "
            "again after every change of torch, which it is compiled against"
        ) from error
    return openpifpaf


def activate(raw: np.ndarray) -> np.ndarray:
    """Turns raw field values of one frame into what the decoder reads: confidences, places in cells, scales in cells.

    Outside the network and in float32 whatever the network ran in: a place is a cell's index plus a fraction, and
    bfloat16 keeps steps of only half a cell at index 80.

    Args:
        raw: float (F, C, h, w), C = 5 (CIF) or 8 (CAF), see `CIF_CHANNELS`; not changed.

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
    # softplus, without overflow
    field[:, -ends:] = np.maximum(scale, 0) + np.log1p(np.exp(-np.abs(scale)))
    return field


@dataclass(frozen=True, slots=True)
class DecodedPersons:
    """M persons in pixels of the network's input, the best first.

    Args:
        point: float32 (M, 17, 2), NaN where a joint was missed.
        score: float32 (M, 17), in [0, 1], 0 where a joint was missed.
        radius: float32 (M, 17), the joints' size in pixels.
        person_score: float32 (M,), in [0, 1]: the joints' scores, sorted, the best three weighing three times.
    """

    point: np.ndarray
    score: np.ndarray
    radius: np.ndarray
    person_score: np.ndarray


class CompositeFieldDecoder:
    """openpifpaf's decoder for COCO's 17 joints, usable from many threads at once.

    Raises:
        BackendError: openpifpaf is not installed or does not load.
    """

    def __init__(self) -> None:
        constants = load_library().plugins.coco.constants
        torch.ops.openpifpaf.set_quiet(True)  # else a line on the standard error for every buffer that it allocates
        for (library, name), settings in DECODER_SETTINGS.items():
            compiled = getattr(getattr(torch.classes, library), name)
            for setting, value in settings.items():
                getattr(compiled, f"set_{setting}")(value)
        self._bones = torch.tensor(constants.COCO_PERSON_SKELETON) - 1
        weight = np.array(constants.COCO_PERSON_SCORE_WEIGHTS, np.float32)
        self._score_weight = weight / weight.sum()

    def __call__(self, cif: np.ndarray, caf: np.ndarray, stride: int) -> DecodedPersons:
        """Reads the persons out of the raw fields of one frame.

        The effort is bounded by the number of cells, 3807 for an input of 641 x 369: real poses take some milliseconds,
        the worst fields that were found 0.4 s.

        Args:
            cif: float (17, 5, h, w), see `CIF_CHANNELS`.
            caf: float (19, 8, h, w).
            stride: Pixels of the network's input a cell.
        """
        # A new one for every frame, a millisecond: a used one adds a counter to the map of confidences instead of
        # clearing it, whose rounding makes a frame's result depend on how many came before.
        compiled = torch.classes.openpifpaf_decoder.CifCaf(len(self._score_weight), self._bones)
        # Works without the interpreter's lock, so threads decode at the same time.
        decoded, _ = compiled.call(torch.from_numpy(activate(cif)), stride, torch.from_numpy(activate(caf)), stride)
        decoded = decoded.numpy()  # (M, 17, 4): score, x, y, radius
        score = np.clip(decoded[..., 0], 0, 1)
        point = np.where(score[..., None] > 0, decoded[..., 1:3], np.float32(np.nan))
        person_score = np.sort(score, 1)[:, ::-1] @ self._score_weight
        return DecodedPersons(point, score, decoded[..., 3], person_score)
