"""Compares two outputs of `skelpipe predict --json`: `python .ci/same_answers.py FILE OTHER`; status 1 if different."""

import json
import sys
from pathlib import Path

TOLERANCE = 1e-4


def main(path: str, other: str) -> None:
    """Compare clips, labels and probabilities."""
    found, expected = (
        [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()] for file in (other, path)
    )
    if not expected or len(found) != len(expected):
        sys.exit(f"{other}: has {len(found)} answers, {path} has {len(expected)}")
    for one, reference in zip(found, expected, strict=True):
        same = all(one[key] == reference[key] for key in ("clip", "label"))
        if not same or not abs(one["probability"] - reference["probability"]) <= TOLERANCE:
            sys.exit(f"{other}: {one} differs from {reference} in {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
