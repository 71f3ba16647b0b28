"""Synthetic pickles with the structure of NTU RGB+D 60 and of Kinetics-400, with a different motion for each class.

    python test_support/clips/made_data_sets.py ntu60 FILE.pkl [--clips 240]
    python test_support/clips/made_data_sets.py kinetics400 FOLDER [--clips 240]

NTU60 and Kinetics-400 themselves are too large, or too restricted, to be included. These files have their splits,
persons, lengths, types and ids, so that the shipped configs can run end to end, in minutes with a few overrides:

    skelpipe train maskclr/ntu60_xsub_dstformer --data FILE.pkl model.dim=32 training.phase1_epochs=2 ...
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.formats.pickle_writing import write_pickle

NTU_CLASSES = 60
# A050 to A060 are the actions of two persons.
FIRST_OF_TWO_PERSONS = 49
NTU_TRAIN_SUBJECTS = frozenset((1, 2, 4, 5, 8, 9, *range(13, 20), 25, 27, 28, 31, 34, 35, 38))
NTU_TRAIN_CAMERAS = frozenset((2, 3))
KINETICS_CLASSES = 400

# A standing person in units of its height, nose first: x to the right, y down, (0, 0) between the hips.
STANDING = np.array(
    [
        (0.0, -0.42), (-0.02, -0.44), (0.02, -0.44), (-0.04, -0.43), (0.04, -0.43), (-0.11, -0.30), (0.11, -0.30),
        (-0.14, -0.15), (0.14, -0.15), (-0.15, 0.0), (0.15, 0.0), (-0.07, 0.0), (0.07, 0.0), (-0.07, 0.24),
        (0.07, 0.24), (-0.07, 0.48), (0.07, 0.48),
    ],
    np.float32,
)  # fmt: skip
# Joints that share a motion: head, left arm, right arm, left leg, right leg.
LIMBS = ((0, 1, 2, 3, 4), (7, 9), (8, 10), (13, 15), (14, 16))


def ntu_like_lengths(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw lengths of `count` clips in frames, distributed as in NTU60: mean 84, median 76, 32 to 300, 95 % < 150."""
    return np.clip(np.round(rng.lognormal(np.log(76), 0.42, count)), 32, 300).astype(np.int64)


def class_motion(label: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return one person's joints in units of its height, float32 (T, V, 2).

    A class has five amplitudes, directions and phases, one per limb, and a frequency; tempo and amplitude vary per
    clip.
    """
    of_class = np.random.default_rng(label)
    amplitude = of_class.uniform(0, 0.22, len(LIMBS))
    angle = of_class.uniform(0, 2 * np.pi, len(LIMBS))
    phase = of_class.uniform(0, 2 * np.pi, len(LIMBS))
    cycles = of_class.uniform(1, 6) * rng.uniform(0.9, 1.1)
    time = np.linspace(0, 2 * np.pi * cycles, num_frames) + rng.uniform(-0.3, 0.3)
    keypoint = np.repeat(STANDING[None], num_frames, axis=0)
    for limb, joints in enumerate(LIMBS):
        swing = amplitude[limb] * rng.uniform(0.85, 1.15) * (1 + np.sin(time + phase[limb]))
        for reach, joint in enumerate(joints, 1):
            share = 0.3 if limb == 0 else reach / len(joints)
            keypoint[:, joint, 0] += share * swing * np.cos(angle[limb])
            keypoint[:, joint, 1] += share * swing * np.sin(angle[limb])
    return keypoint


def in_pixels(keypoint: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Place a person in a frame of `size` (h, w), with detector jitter, float32 (T, V, 2)."""
    height, width = size
    tall = rng.uniform(0.4, 0.6) * height
    centre = np.array([rng.uniform(0.3, 0.7) * width, rng.uniform(0.45, 0.55) * height])
    return (centre + tall * keypoint + rng.normal(0, 0.004 * tall, keypoint.shape)).astype(np.float32)


def ntu_annotation(
    label: int, subject: int, camera: int, repeat: int, frames: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Return a clip in PYSKL's format: float16, and a second person that is zero in the frames where it is absent."""
    size = (1080, 1920)
    persons = 2 if label >= FIRST_OF_TWO_PERSONS or rng.random() < 0.04 else 1
    keypoint = np.stack([in_pixels(class_motion(label, frames, rng), size, rng) for _ in range(persons)])
    score = rng.uniform(0.5, 0.99, keypoint.shape[:3]).astype(np.float32)
    if persons == 2:
        # The second person appears late; in actions of one person it is rarely visible.
        until = int(frames * (rng.uniform(0, 0.3) if label >= FIRST_OF_TWO_PERSONS else rng.choice([0.9, 1.0])))
        keypoint[1, :until] = 0
        score[1, :until] = 0
    return {
        "frame_dir": f"S{subject % 17 + 1:03d}C{camera:03d}P{subject:03d}R{repeat:03d}A{label + 1:03d}",
        "label": label,
        "img_shape": size,
        "original_shape": size,
        "total_frames": frames,
        "num_person_raw": persons,
        "keypoint": keypoint.astype(np.float16),
        "keypoint_score": score.astype(np.float16),
    }


def made_ntu60(clips: int = 240, *, classes: int = NTU_CLASSES, seed: int = 0) -> dict[str, Any]:
    """Return a data set with NTU60's classes, splits, ids, persons and lengths.

    Args:
        clips: Number of clips, at most 240 per class (40 subjects, 3 cameras, 2 repetitions); classes alternate.
        classes: Number of the 60 classes that occur.
        seed: Random seed.

    Returns:
        {"split": {xsub_train, xsub_val, xview_train, xview_val}, "annotations"}, without label names, as PYSKL's.
    """
    rng = np.random.default_rng(seed)
    # Every class soon has subjects and cameras of both sides: their order is shuffled once, instead of following the
    # ids.
    places = rng.permutation([(s, c, r) for s in range(1, 41) for c in (1, 2, 3) for r in (1, 2)])
    lengths = ntu_like_lengths(clips, rng)
    annotations = []
    for number in range(clips):
        label, turn = number % classes, number // classes
        subject, camera, repeat = (int(value) for value in places[(turn + 7 * label) % len(places)])
        annotations.append(ntu_annotation(label, subject, camera, repeat, int(lengths[number]), rng))
    split: dict[str, list[str]] = {name: [] for name in ("xsub_train", "xsub_val", "xview_train", "xview_val")}
    for annotation in annotations:
        name = annotation["frame_dir"]
        subject, camera = int(name[9:12]), int(name[5:8])
        split["xsub_train" if subject in NTU_TRAIN_SUBJECTS else "xsub_val"].append(name)
        split["xview_train" if camera in NTU_TRAIN_CAMERAS else "xview_val"].append(name)
    return {"split": split, "annotations": annotations}


def write_ntu60(path: Path, clips: int = 240, *, classes: int = NTU_CLASSES, seed: int = 0) -> Path:
    """Write `made_ntu60` and return the path."""
    write_pickle(path, made_ntu60(clips, classes=classes, seed=seed))
    return path


def write_kinetics400(
    folder: Path, clips: int = 240, *, classes: int = KINETICS_CLASSES, files: int = 4, seed: int = 0
) -> tuple[Path, Path]:
    """Write a data set in Kinetics-400's format: skeletons of all persons and frames concatenated, in separate files.

    A clip has one to three persons, some frames without any, and some uncertain detections (box score below 0.5).

    Returns:
        The pickle of annotations, and the folder of the `files` keypoint files: {id: {"keypoint": float16 (N, 17, 3)}}.
    """
    rng = np.random.default_rng(seed)
    size = (340, 452)
    stored: list[dict[str, Any]] = [{} for _ in range(files)]
    annotations = []
    for number in range(clips):
        name, label, frames = f"clip{number:06d}", number % classes, int(rng.integers(40, 120))
        persons = int(rng.integers(1, 4))
        motion = np.stack([in_pixels(class_motion(label, frames, rng), size, rng) for _ in range(persons)])
        seen = rng.random((frames, persons)) < 0.9
        frame_of, person_of = seen.nonzero()
        keypoint = np.concatenate(
            [motion[person_of, frame_of], rng.uniform(0.4, 1, (len(frame_of), 17, 1)).astype(np.float32)], axis=-1
        )
        box_score = rng.uniform(0.35, 1, len(frame_of)).astype(np.float16)
        stored[number % files][name] = {"keypoint": keypoint.astype(np.float16)}
        annotations.append(
            {
                "frame_dir": name,
                "label": label,
                "img_shape": size,
                "original_shape": size,
                "total_frames": frames,
                "num_person_raw": persons,
                "frame_inds": frame_of.astype(np.int16),
                "box_score": box_score,
                "valid": {
                    limit: len(np.unique(frame_of[box_score >= limit])) for limit in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
                },
                "raw_file": f"kpfiles/part_{number % files}.pkl",
            }
        )
    # Every fifth round of the classes is for validation, so that each class has clips in both splits.
    validation = {clip["frame_dir"] for number, clip in enumerate(annotations) if number // classes % 5 == 4}
    names = [clip["frame_dir"] for clip in annotations]
    split = {"train": [n for n in names if n not in validation], "val": [n for n in names if n in validation]}
    for number, content in enumerate(stored):
        write_pickle(folder / "kpfiles" / f"part_{number}.pkl", content)
    write_pickle(folder / "k400_hrnet.pkl", {"split": split, "annotations": annotations})
    return folder / "k400_hrnet.pkl", folder / "kpfiles"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["ntu60", "kinetics400"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--clips", type=int, default=240)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.kind == "ntu60":
        write_ntu60(arguments.path, arguments.clips, classes=arguments.classes or NTU_CLASSES, seed=arguments.seed)
    else:
        write_kinetics400(
            arguments.path, arguments.clips, classes=arguments.classes or KINETICS_CLASSES, seed=arguments.seed
        )


if __name__ == "__main__":
    main()
