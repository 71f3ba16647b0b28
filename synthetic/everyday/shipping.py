"""Puts the everyday recognizer into the package, with a model card."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write, sha256_of
from recognition import runs
from recognition.data.descriptors.extending import with_half_centres
from recognition.run_file import portable
from synthetic.base.shipping import RECOGNIZER, pack
from synthetic.everyday.merging import Part
from synthetic.everyday.testing import Certainty, OtherActions, Result


def ship(
    run: Path,
    path: Path,
    parts: Sequence[Part],
    results: Sequence[Result],
    certainties: Sequence[Certainty],
    others: Sequence[OtherActions],
    command: str,
    *,
    estimator: str,
) -> Path:
    """Write a run as NAME.safetensors, NAME.json and NAME.md.

    Args:
        run: Directory of a finished training.
        path: NAME.safetensors.
        parts: Skeleton files of its training clips.
        results: Accuracy on unseen people.
        certainties: Their confidence, by skeleton file.
        others: Answers to clips of actions that it does not know.
        command: The command that made it.
        estimator: Pose estimator that predictions with it use unless another is named.

    Returns:
        `path`.

    Raises:
        UsageError: The weights are too large for the package, or there is no classifier of descriptors.
        WeightsError: The run is unfinished or damaged.
    """
    content = portable(runs.load(runs.run_file(run)))
    movement = runs.load_run(run).recognizer.movement
    if movement is None:
        raise UsageError(f"{run}: has no classifier of descriptors; train it with data.descriptors=auto")
    rounded = {f"{RECOGNIZER}movement.{name}": array for name, array in with_half_centres(movement).items()}
    content["model"] = content["model"] | rounded
    sources = [{"name": part.name, "file": part.path.name, "sha256": sha256_of(part.path)} for part in parts]
    described = {
        "held_out": {},
        "sources": sources,
        "command": command,
        "estimator": estimator,
    }
    exact = [name for name in rounded if not name.endswith(".centres")]
    pack(run, path, content | described, prefix=RECOGNIZER, exact=exact)
    with atomic_write(path.with_suffix(".md")) as file:
        file.write(card_of(path, sources, results, certainties, others, command).encode())
    return path


def card_of(
    path: Path,
    sources: Sequence[dict[str, Any]],
    results: Sequence[Result],
    certainties: Sequence[Certainty],
    others: Sequence[OtherActions],
    command: str,
) -> str:
    """Return the model card, in Markdown; for the arguments see `ship`."""
    files = list(dict.fromkeys(result.part for result in results))
    heads = [f"{part.path.stem}" for part in files]
    cells = {(result.part, result.label_name): f"{result.correct} of {result.clips}" for result in results}
    totals = []
    for part in files:
        own = [result for result in results if result.part == part]
        correct, clips = sum(result.correct for result in own), sum(result.clips for result in own)
        totals.append(f"{correct} of {clips} ({correct / clips:.1%})")
    rows = "".join(
        f"| {name} | {' | '.join(cells.get((part, name), '') for part in files)} |\n"
        for name in sorted({result.label_name for result in results})
    )
    certain = {one.part: one for one in certainties}
    errors = [f"{certain[part].calibration_error:.3f}" for part in files]
    unknown = [f"{certain[part].unknown} of {certain[part].clips}" for part in files]
    trained_on = "".join(f"| {source['name']} | {source['file']} | {source['sha256']} |\n" for source in sources)
    return f"""# {path.stem}

A recognizer of {len({result.label_name for result in results})} actions of single people, for a first try without any
training: `skelpipe predict clip.mp4` uses it in a folder without runs. For your own actions train on your own clips;
a few dozen suffice.

- Made with `{command}`.
- Weights: {path.stat().st_size / 1e6:.2f} MB; settings, classes and digests are in `{path.stem}.json`.
- A clip unlike the known actions is reported as unknown. That fails for some: check its answers.

## Accuracy on people that it was not trained on

Correct clips of the test splits, by skeleton file. The joints of Penn Action were labelled by hand: for videos, where
an estimator finds them, the accuracy can be lower.

| action | {" | ".join(heads)} |
|---|{"---|" * len(files)}
{rows}| **all** | {" | ".join(totals)} |
| expected calibration error | {" | ".join(errors)} |
| reported as unknown, although known | {" | ".join(unknown)} |
{unknown_section(others)}
## Training data

Training splits of these files. The skeletons are research data: check the terms of the data sets before any use other
than research.

| data set | skeleton file | SHA-256 |
|---|---|---|
{trained_on}
## Not suitable for

Crowds, interactions of several people, actions that are not in the table, falls and emergencies, people who are partly
outside the picture for most of a clip, identifying people, and any decision about people that nobody checks.
"""


def unknown_section(others: Sequence[OtherActions]) -> str:
    """Return the section of the model card on clips of other actions, in Markdown; "" if none were tested."""
    if not others:
        return ""
    rows = "".join(
        f"| {one.part.path.stem} | {one.unknown} of {one.clips} | "
        f"{', '.join(f'{name} {clips}' for name, clips in one.names.items())} |\n"
        for one in others
    )
    return f"""
## On actions that it does not know

Clips of other actions, by skeleton file, and the wrong names of those that were not reported as unknown. On videos,
close-ups and small people before surveillance cameras got wrong names, too: see "Without training" in
`docs/predicting.md`.

| skeleton file | reported as unknown | wrong names |
|---|---|---|
{rows}"""
