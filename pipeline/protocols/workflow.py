"""`skelpipe evaluate --protocol`: evaluate a pre-trained encoder with the protocols of the papers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.evaluate.folders import JSON_NAME
from pipeline.protocols.classes import _by_classes
from pipeline.protocols.clips import Asked, data_of, optional_split
from pipeline.protocols.detection import _detect
from pipeline.protocols.motion import _predict
from pipeline.protocols.recipe import parse_protocol, place_of, protocol_settings
from pipeline.protocols.results import changes_of, folder_of
from pipeline.protocols.sequences import Sequences
from pipeline.protocols.tasks import _tasks
from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write
from recognition.data.splits import matching_test_split, training_split
from recognition.pretraining.encoder import load_pretrained
from recognition.protocols.settings import ProtocolSettings

if TYPE_CHECKING:
    from pipeline.protocols.recipe import Place

_ANOTHER_FILE = "--protocol transfer: requires a file (--data) that the encoder was not pre-trained on"


def run_protocol(
    word: str,
    runs: Sequence[Path],
    data: Path | None,
    split: str | None,
    *,
    train_split: str | None = None,
    pairs: Sequence[str] = (),
    scratch: bool = False,
    skip_bad: bool = False,
    keypoint_files: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    console: Console,
) -> dict[str, Any]:
    """Evaluate encoders with a protocol and write the results below the first one's run directory.

    Args:
        word: The protocol, such as `semi:10%`.
        runs: Run directories of `skelpipe pretrain`; the predictions of several runs are fused.
        data: Skeleton file; None for the one that the first run was trained on.
        split: Test split; None for the one that matches the training split.
        train_split: Split for training classifiers; None for that of the first run, or the only one named like *train.
        pairs: `key=value` settings that override the recipe of each method.
        scratch: Whether encoders start from random weights, as a baseline.
        skip_bad: Whether to skip malformed clips instead of raising an error.
        keypoint_files: Folder with the keypoint files of Kinetics-400; None for that of the run.
        device: Device of the computation.
        precision: auto, fp32 or bf16.
        console: Receives progress and warnings.

    Returns:
        The results, for JSON output.

    Raises:
        UsageError: Protocol, runs and file do not fit each other.
        AnnotationError: The skeleton file is malformed.
        WeightsError: A run cannot be read.
    """
    protocol = parse_protocol(word)
    place = place_of(device, precision)
    loaded = [load_pretrained(run) for run in runs]
    recipes = [protocol_settings(one.settings.method, pairs) for one in loaded]
    if scratch:
        loaded = [load_pretrained(run, scratch=True, seed=recipes[0].seed) for run in runs]
    first, settings = loaded[0], recipes[0]
    if protocol.name == "transfer" and (data is None or str(data.resolve()) == first.settings.data.file):
        raise UsageError(_ANOTHER_FILE)
    path = data if data is not None else Path(first.settings.data.file)
    if not path.is_file():
        raise UsageError(f"{path}: file not found; specify a skeleton file with --data")
    if keypoint_files is not None and not keypoint_files.is_dir():
        raise UsageError(f"--keypoint-files {keypoint_files}: folder not found")
    asked = Asked(path, split, train_split, skip_bad, keypoint_files)
    changes = [
        changes_of(own, protocol_settings(one.settings.method, ())) for one, own in zip(loaded, recipes, strict=True)
    ]

    def tell(line: str) -> None:
        console.print(Text(line))

    def folder_for_splits(usual_split: str | None, usual_training: str | None) -> Path:
        return folder_of(
            word,
            path,
            loaded,
            split=None if split in (None, usual_split) else split,
            train_split=None if train_split in (None, usual_training) else train_split,
            changes=changes,
            scratch=scratch,
        )

    if protocol.name in ("detection", "motion"):
        from pipeline.protocols.sequences import open_sequences

        if len(loaded) > 1:
            raise UsageError(f"--protocol {protocol.name}: supports a single encoder; omit --fuse")
        sequences = open_sequences(first, asked, tell=tell)
        folder = folder_for_splits(sequences.usual_split, sequences.usual_training)
        found = run_dense_protocol(protocol.name, sequences, settings, place=place, scratch=scratch, tell=tell)
    else:
        tasks = _tasks(loaded, recipes, asked)
        if protocol.name == "transfer" and tasks[0].clips.content_digest() == first.content_digest:
            raise UsageError(_ANOTHER_FILE)
        clips, usual = tasks[0].clips, data_of(first, Asked(path))
        folder = folder_for_splits(
            optional_split(lambda: matching_test_split(clips, tasks[0].train_set.settings)),
            optional_split(lambda: training_split(clips, usual)),
        )
        tell(
            f"{len(tasks[0].training)} clips for training, {len(tasks[0].test)} clips of {path.name}'s "
            f"{tasks[0].test_split} for testing"
        )
        found = _by_classes(protocol, word, tasks, folder, place=place, scratch=scratch, tell=tell)
    result = {
        "protocol": word,
        "runs": [str(pretrained.path) for pretrained in loaded],
        "method": first.settings.method,
        "epoch": first.epoch,
        "scratch": scratch,
        "data": str(path),
        "settings": settings.model_dump(mode="json"),
        **({"fused_settings": [own.model_dump(mode="json") for own in recipes[1:]]} if len(loaded) > 1 else {}),
        **found,
    }
    with atomic_write(folder / JSON_NAME) as file:
        file.write(json.dumps(result, indent=1, ensure_ascii=False).encode())
    return {**result, "folder": str(folder)}


def print_protocol(result: dict[str, Any], console: Console) -> None:
    """Print the results as a table."""
    title = f"{result['protocol']}, {Path(result['data']).name}, by {Path(result['runs'][0]).parent.name}"
    table = Table("measure", "value", title=Text(title + (", from scratch" if result["scratch"] else "")))
    table.title_justify = "left"
    for name, unit in (
        ("clips", ""),
        ("top1", "%"),
        ("mean_class", "%"),
        ("actions", ""),
        ("proposals", ""),
        ("mAP_a", "%"),
        ("mAP_v", "%"),
        ("MPJPE", "mm"),
        ("MPJPE_of_standing_still", "mm"),
    ):
        if result.get(name) is not None:
            value = result[name]
            shown = f"{value:.2%}" if unit == "%" else f"{value:.1f} {result['unit']}" if unit else str(value)
            if name == "top1" and result.get("top1_interval"):
                low, high = result["top1_interval"]
                shown += f"  (95 % interval {low:.2%} to {high:.2%})"
            if name == "top1" and result.get("top1_runs"):
                shown += (
                    f"  (mean of {len(result['top1_runs'])} subsets, standard deviation {result['top1_deviation']:.2%})"
                )
            table.add_row(name, shown)
    console.print(table)


def run_dense_protocol(
    name: str,
    sequences: Sequences,
    settings: ProtocolSettings,
    *,
    place: "Place",
    scratch: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Run action detection or motion prediction; arguments as for `pipeline.protocols.workflow.run_protocol`.

    Raises:
        UsageError: The file lacks data that the protocol needs.
        AnnotationError: Its actions are malformed.
    """
    run = _detect if name == "detection" else _predict
    return {"split": sequences.test_split, **run(sequences, settings, place, scratch, tell)}
