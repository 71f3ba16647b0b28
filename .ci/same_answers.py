"""Compares outputs of `skelpipe predict --json`: `python .ci/same_answers.py EXPECTED FOUND`; status 1 if different."""

import json
import sys
from pathlib import Path

TOLERANCE = 1e-4


def main(expected_file: str, found_file: str) -> None:
    """Compare clips, labels and probabilities."""
    expected, found = (
        [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
        for file in (expected_file, found_file)
    )
    if not expected or len(found) != len(expected):
        sys.exit(f"{found_file}: has {len(found)} answers, {expected_file} has {len(expected)}")
    for one, reference in zip(found, expected, strict=True):
        same = all(one[key] == reference[key] for key in ("clip", "label"))
        if not same or not abs(one["probability"] - reference["probability"]) <= TOLERANCE:
            sys.exit(f"{found_file}: {one} differs from {reference} in {expected_file}")


if __name__ == "__main__":
    main(*sys.argv[1:])
