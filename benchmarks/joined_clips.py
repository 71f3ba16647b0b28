"""Join short clips into long sequences of several actions, as a data set for temporal action detection.

    python benchmarks/joined_clips.py penn_action.pkl --out penn_joined.pkl --background pullup squat [--clips 6]
    skelpipe pretrain pcm3/custom --data penn_action.pkl --out runs/pcm3
    skelpipe evaluate runs/pcm3 --protocol detection --data penn_joined.pkl

The clips of each split are concatenated in random order (set by the seed), each scaled so that its person fills the
same square. Clips of the `--background` classes do not count as actions. Unlike in untrimmed videos, there are no
transitions between actions, so joints jump where clips meet.
"""

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import SkelpipeError
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle

# Frame size of the joined sequences, and the side of the square that a clip's person fills, in pixels.
HEIGHT, WIDTH, SIDE = 480, 640, 400.0


def placed(clip: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Centre a clip's first person in the frame.

    Returns:
        float32 (1, T, V, 2) in pixels, and scores (1, T, V), zero for invisible joints; None if there is no person.
    """
    joints = np.asarray(clip["keypoint"], np.float32)[:1]
    scores = np.asarray(clip["keypoint_score"], np.float32)[:1]
    seen = (scores > 0) & np.isfinite(joints).all(-1)
    if not seen.any():
        return None
    low, high = joints[seen].min(0), joints[seen].max(0)
    scale = SIDE / max(float((high - low).max()), 1.0)
    moved = (joints - (low + high) / 2) * scale + np.asarray([WIDTH / 2, HEIGHT / 2], np.float32)
    return (moved * seen[..., None]).astype(np.float32), scores * seen


def joined(name: str, clips: Sequence[Mapping[str, Any]], classes: Mapping[int, int]) -> dict[str, Any]:
    """Join several clips into one sequence.

    Args:
        name: Name of the sequence.
        clips: Clips with a visible person.
        classes: New class number of each class that counts as an action.
    """
    keypoint, scores, actions, start = [], [], [], 0
    for clip in clips:
        found = placed(clip)
        if found is None:
            continue
        keypoint.append(found[0])
        scores.append(found[1])
        end = start + found[0].shape[1]
        if clip["label"] in classes:
            actions.append([classes[clip["label"]], start, end])
        start = end
    return {
        "frame_dir": name,
        "label": -1,
        "actions": actions,
        "total_frames": start,
        "img_shape": (HEIGHT, WIDTH),
        "original_shape": (HEIGHT, WIDTH),
        "keypoint": np.concatenate(keypoint, 1),
        "keypoint_score": np.concatenate(scores, 1),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="skeleton file of short clips")
    parser.add_argument("--out", type=Path, required=True, help="skeleton file to write")
    parser.add_argument("--background", nargs="*", default=[], help="names of classes that are not actions")
    parser.add_argument("--clips", type=int, default=6, help="clips per sequence (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of clips (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        data = read_pickle(arguments.file)
        names = list(data["label_names"])
        if unknown := sorted(set(arguments.background) - set(names)):
            parser.error(f"--background {' '.join(unknown)}: unknown class; choose from {', '.join(names)}")
        kept = [number for number, name in enumerate(names) if name not in arguments.background]
        classes = {old: new for new, old in enumerate(kept)}
        by_name = {clip["frame_dir"]: clip for clip in data["annotations"]}
        sequences: list[dict[str, Any]] = []
        splits: dict[str, list[str]] = {}
        for split, members in data["split"].items():
            order = random.Random(f"{arguments.seed} {split}").sample(list(members), len(members))
            groups = [order[first : first + arguments.clips] for first in range(0, len(order), arguments.clips)]
            splits[split] = [f"{split}_{number:04d}" for number in range(len(groups))]
            sequences += [
                joined(name, [by_name[member] for member in group], classes)
                for name, group in zip(splits[split], groups, strict=True)
            ]
        write_pickle(
            arguments.out, {"split": splits, "annotations": sequences, "label_names": [names[old] for old in kept]}
        )
    except SkelpipeError as error:
        sys.exit(f"{parser.prog}: {error}")
    print(f"{arguments.out}: {len(sequences)} sequences, {sum(len(one['actions']) for one in sequences)} actions")


if __name__ == "__main__":
    main()
