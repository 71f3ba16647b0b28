"""Reading and writing skeleton files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_skeletons(path: str | Path) -> dict[str, Any]:
    """Read and validate a skeleton file of skelpipe, PYSKL or a similar project; code in the file is not run.

    Args:
        path: Skeleton file, .pkl, or folder of a data set in shards, .parquet.

    Returns:
        A dictionary with these entries:

            - "annotations": One dictionary per clip: "frame_dir", the id of the clip; "keypoint", float (M, T, V, 2) in
              pixels or (M, T, V, 3), of M persons, T frames and V joints, (0, 0) where a joint was not seen;
              "keypoint_score", float (M, T, V) in [0, 1]; "img_shape", (height, width) in pixels; "total_frames", T;
              "label", the number of the class, -1 for unlabelled clips. Clips of `skelpipe.extract` have further
              entries, such as "time" and "track_id".
            - "split": Ids of the clips in each split, by name of the split.
            - "label_names": Names of the classes; may be missing in files of other projects.

    Raises:
        AnnotationError: The file is missing, damaged, contains code, or is not a skeleton file.

    Examples:
        >>> import skelpipe
        >>> data = skelpipe.read_skeletons("skeletons/actions.pkl")
        >>> data["label_names"]
        ['wave', 'jump', 'squat']
        >>> data["annotations"][0]["keypoint"].shape
        (1, 12, 17, 2)
    """
    from pipeline import read_skeletons as read

    return read(path)


def write_skeletons(path: str | Path, data: Mapping[str, Any]) -> None:
    """Validate a data set and write it as a skeleton file; an existing file is replaced.

    Joints with NaN coordinates become (0, 0) with score 0, as the format requires.

    Args:
        path: Skeleton file, .pkl; or .parquet for a folder with shards, which needs the extra `parquet`.
        data: A data set as returned by `read_skeletons`. Only "annotations" is required, and in each annotation
            "frame_dir", "keypoint" and, in 2D, "img_shape". Defaults of the others: no splits, unlabelled clips, and
            the score 1 for joints whose coordinates are finite.

    Raises:
        AnnotationError: An entry is missing or invalid; the message names the clip and the entry.
        OSError: The file cannot be written.

    Examples:
        >>> import numpy as np
        >>> import skelpipe
        >>> keypoint = np.random.default_rng(0).uniform(0, 480, (1, 30, 17, 2))
        >>> clip = {"frame_dir": "clip", "keypoint": keypoint, "img_shape": (480, 640), "label": 0}
        >>> skelpipe.write_skeletons("skeletons/own.pkl", {"annotations": [clip], "label_names": ["wave"]})
        >>> skelpipe.read_skeletons("skeletons/own.pkl")["annotations"][0]["total_frames"]
        30
    """
    from pose_extraction.formats.foreign import converted
    from pose_extraction.formats.storage import write_data_set
    from pose_extraction.formats.validation import validate_dataset

    place = Path(path)
    complete = {"split": {}, **data}
    if isinstance(complete.get("annotations"), list | tuple):
        complete["annotations"] = [_completed(clip) for clip in complete["annotations"]]
    complete = converted(complete, place)
    validate_dataset(complete, place)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_data_set(place, complete)


def _completed(clip: Any) -> Any:
    """Return an annotation with defaults for missing entries, and zeros for joints that were not seen."""
    import numpy as np

    from pose_extraction.formats.annotations import UNLABELLED, with_zeros

    if not isinstance(clip, Mapping) or "keypoint" not in clip:
        # Refused by the validation, with a message.
        return clip
    keypoint = np.asarray(clip["keypoint"])
    defaults = {
        "label": UNLABELLED,
        "total_frames": keypoint.shape[1] if keypoint.ndim > 1 else 0,
        "keypoint_score": np.ones(keypoint.shape[:-1], np.float32),
    }
    complete = {**defaults, **clip, "keypoint": keypoint}
    score = np.asarray(complete["keypoint_score"])
    if keypoint.dtype.kind in "fiu" and score.shape == keypoint.shape[:-1]:
        complete["keypoint"], complete["keypoint_score"] = with_zeros(keypoint, score)
    return complete
