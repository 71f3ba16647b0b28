"""`skelpipe evaluate --protocol`: evaluate a pre-trained encoder with the protocols of the papers."""

import copy
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.evaluate import JSON_NAME, split_to_test
from pipeline.protocol_data import Asked, check_kind, data_of, labelled_clips, told_or_none
from pipeline.protocol_results import KeptSubsets, changes_of, folder_of
from pipeline.settings import changed, override, parse
from pose_extraction.backends import PRECISIONS
from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write, sha256_of
from recognition.clips import ClipSet, open_clips, training_split
from recognition.dataset import SkeletonDataset, layout_of_model
from recognition.evaluation import Metrics, measure
from recognition.preparation import resolve_device, resolve_precision
from recognition.pretraining.encoder import Pretrained, load_pretrained
from recognition.protocols.features import features_of
from recognition.protocols.finetune import finetune, labelled_share, probabilities_of
from recognition.protocols.linear import fit_linear, nearest_labels
from recognition.protocols.occlusion import OccludedDataset
from recognition.protocols.settings import FinetuneSettings, ProtocolSettings, published

_ANOTHER_FILE = "--protocol transfer: requires a file (--data) that the encoder was not pre-trained on"
PROTOCOLS = ("linear", "finetune", "semi", "transfer", "knn", "occlusion", "detection", "motion")


@dataclass(frozen=True)
class Protocol:
    """Protocol as named on the command line, such as `linear`, `semi:10%` or `occlusion:spatial`."""

    name: str
    share: float = 1.0
    kind: Literal["spatial", "temporal"] = "spatial"


@dataclass(frozen=True)
class Place:
    """Device and precision of the computation."""

    device: str
    bf16: bool


@dataclass(frozen=True)
class Task:
    """An encoder and the clips that it is evaluated on.

    Args:
        pretrained: The encoder.
        settings: Recipe of its method, with the requested changes.
        clips: The skeleton file.
        training: int64, indices of labelled clips for training a classifier.
        test: int64, indices of labelled clips for testing.
        train_split: Name of the training split; None for all clips of a file without splits.
        test_split: Name of the test split.
        train_set: The training clips, with new random augmentation at every access.
        test_set: The test clips.
    """

    pretrained: Pretrained
    settings: ProtocolSettings
    clips: ClipSet
    training: np.ndarray
    test: np.ndarray
    train_split: str | None
    test_split: str
    train_set: SkeletonDataset
    test_set: SkeletonDataset

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.clips.label_names)


def parse_protocol(word: str) -> Protocol:
    """Parse the name of a protocol.

    Raises:
        UsageError: The name or its option is unknown.
    """
    name, _, rest = word.partition(":")
    if name not in PROTOCOLS:
        raise UsageError(f"unknown protocol {word!r}; choose one of {', '.join(PROTOCOLS)}")
    if name == "semi":
        found = re.fullmatch(r"(\d+(?:\.\d+)?)%", rest or "10%")
        share = float(found[1]) / 100 if found else 0.0
        if not 0 < share <= 1:
            raise UsageError(f"--protocol {word}: specify the share of known labels, such as semi:10%")
        return Protocol(name, share=share)
    if name == "occlusion":
        if rest not in ("", "spatial", "temporal"):
            raise UsageError(f"--protocol {word}: use occlusion:spatial or occlusion:temporal")
        return Protocol(name, kind="temporal" if rest == "temporal" else "spatial")
    if rest:
        raise UsageError(f"--protocol {word}: {name} takes no option; remove {rest!r}")
    return Protocol(name)


def protocol_settings(method: str, pairs: Sequence[str]) -> ProtocolSettings:
    """Return the published recipes of a method, with changes from the command line.

    Args:
        method: Name of the pre-training method.
        pairs: `key=value` settings that override the recipe.

    Raises:
        UsageError: A setting is unknown or invalid.
    """
    values = override(published(method), {}, ProtocolSettings)
    return parse(changed(values, pairs, {}, ProtocolSettings), ProtocolSettings, place="--set")


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
        from pipeline.dense_protocols import open_sequences, run_dense_protocol

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
            told_or_none(lambda: split_to_test(clips, tasks[0].train_set.settings)),
            told_or_none(lambda: training_split(clips, usual)),
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


def place_of(device: str, precision: str) -> Place:
    """Resolve device and precision.

    Args:
        device: auto, cpu or a CUDA device.
        precision: auto, fp32 or bf16.

    Raises:
        UsageError: The precision is unknown or does not support training.
        BackendError: The device is not available.
    """
    known = [name for name in PRECISIONS if name != "fp16"]
    if precision not in known:
        raise UsageError(f"--precision {precision}: with --protocol, use one of {', '.join(known)}")
    where = resolve_device(device)
    return Place(where, resolve_precision(precision, where) == "bf16")


def _tasks(loaded: Sequence[Pretrained], recipes: Sequence[ProtocolSettings], asked: Asked) -> list[Task]:
    """Return the evaluation tasks of the encoders: the same clips, in the splits given by the first run.

    Raises:
        UsageError: The file does not fit the encoders, or they do not use the same clips.
    """
    first = _task(loaded[0], recipes[0], asked)
    same = replace(asked, split=first.test_split, train_split=first.train_split)
    tasks = [first, *(_task(one, own, same) for one, own in zip(loaded[1:], recipes[1:], strict=True))]
    for task in tasks[1:]:
        check_same_clips(first, task)
    return tasks


def _task(pretrained: Pretrained, settings: ProtocolSettings, asked: Asked) -> Task:
    data, path = data_of(pretrained, asked), asked.path
    data = data.model_copy(
        update={
            "part_range_train": settings.parts,
            "part_test": data.part_test if settings.part_test is None else settings.part_test,
        }
    )
    clips = open_clips(path, data, leave_out_empty=True)
    check_kind(pretrained, clips, told_or_none(lambda: layout_of_model(clips, data).name))
    training, test, test_split = labelled_clips(clips, data, asked.split)
    return Task(
        pretrained,
        settings,
        clips,
        training,
        test,
        training_split(clips, data),
        test_split,
        SkeletonDataset(clips, training, data, train=True, seed=settings.seed),
        SkeletonDataset(clips, test, data, train=False),
    )


def check_same_clips(first: Task, other: Task) -> None:
    """Check that two encoders are evaluated on the same clips.

    Args:
        first: Task of the first encoder.
        other: Task of another encoder.

    Raises:
        UsageError: One encoder uses clips that the other does not.
    """
    for mine, theirs in ((first.training, other.training), (first.test, other.test)):
        names, others = ([task.clips.names[index] for index in part] for task, part in ((first, mine), (other, theirs)))
        if names != others:
            odd = sorted(set(names).symmetric_difference(others))
            raise UsageError(
                f"--fuse {other.pretrained.path.parent}: does not use the same clips of {first.clips.path} as "
                f"{first.pretrained.path.parent}{f', for example {odd[0]!r}' if odd else ''}; fuse runs with the same "
                "data settings"
            )


def _by_classes(
    protocol: Protocol,
    word: str,
    tasks: Sequence[Task],
    folder: Path,
    *,
    place: Place,
    scratch: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Run a protocol that classifies clips."""
    first = tasks[0]
    labels, settings = first.clips.labels[first.test], first.settings
    found: dict[str, Any] = {"split": first.test_split, "clips": len(labels)}

    def measured(seed: int) -> Metrics:
        answers = _answers(protocol, tasks, seed=seed, place=place, scratch=scratch, tell=tell)
        return measure(answers, labels, unanswered=np.zeros(0, np.int64))

    if protocol.name != "semi" or settings.runs == 1:
        metrics = measured(settings.seed)
        return found | {
            "top1": metrics.top1,
            "top1_interval": list(metrics.top1_interval),
            "mean_class": metrics.mean_class,
        }
    kept = KeptSubsets(folder, _measured_on(word, tasks, place, scratch=scratch))
    accuracies = []
    for seed in range(settings.seed, settings.seed + settings.runs):
        top1, again = kept.get(seed), " (kept from an earlier run)"
        if top1 is None:
            top1, again = measured(seed).top1, ""
            kept.keep(seed, top1)
        accuracies.append(top1)
        tell(f"subset {seed}: top-1 {top1:.2%}{again}")
    kept.end()
    return found | {
        "top1": float(np.mean(accuracies)),
        "top1_interval": None,
        "mean_class": None,
        "top1_runs": accuracies,
        "top1_deviation": float(np.std(accuracies, ddof=1)),
    }


def _measured_on(word: str, tasks: Sequence[Task], place: Place, *, scratch: bool) -> dict[str, Any]:
    """Return everything that an accuracy depends on."""
    first = tasks[0]
    return {
        "protocol": word,
        "weights": [sha256_of(task.pretrained.path) for task in tasks],
        "scratch": scratch,
        "clips": first.clips.content_digest(),
        "splits": [first.train_split, first.test_split],
        "settings": [task.settings.model_dump(mode="json") for task in tasks],
        "bf16": place.bf16,
    }


def _answers(
    protocol: Protocol,
    tasks: Sequence[Task],
    *,
    seed: int,
    place: Place,
    scratch: bool,
    tell: Callable[[str], None],
) -> np.ndarray:
    """Return scores of all classes for the test clips, float64 (N, K): the mean of the encoders' probabilities.

    For retrieval, the score is 1 for the class of the training clip with the largest sum of cosine similarities.
    """
    if protocol.name == "knn":
        first = tasks[0]
        galleries, queries = zip(*(_features(task, place) for task in tasks), strict=True)
        found = nearest_labels(galleries, torch.as_tensor(first.clips.labels[first.training]), queries)
        return np.eye(first.num_classes)[found.numpy()]
    total: np.ndarray = np.zeros(())
    for task in tasks:
        total = total + _probabilities(protocol, task, seed=seed, place=place, scratch=scratch, tell=tell)
    return total / len(tasks)


def _features(task: Task, place: Place) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features of training and test clips, both without augmentation."""
    encoder = copy.deepcopy(task.pretrained.encoder).to(place.device)
    where: dict[str, Any] = {"device": place.device, "bf16": place.bf16}
    gallery = SkeletonDataset(task.clips, task.training, task.test_set.settings, train=False)
    return (
        features_of(encoder, gallery, len(task.training), **where),
        features_of(encoder, task.test_set, len(task.test), **where),
    )


def _probabilities(
    protocol: Protocol,
    task: Task,
    *,
    seed: int,
    place: Place,
    scratch: bool,
    tell: Callable[[str], None],
) -> np.ndarray:
    """Return the probabilities of all classes for the test clips, float64 (N, K)."""
    encoder = copy.deepcopy(task.pretrained.encoder).to(place.device)
    where: dict[str, Any] = {"device": place.device, "bf16": place.bf16}
    labels, settings = task.clips.labels, task.settings
    if protocol.name in ("finetune", "semi", "transfer"):
        chosen = task.training
        if protocol.share < 1:
            chosen = chosen[labelled_share(labels[chosen], protocol.share, seed=seed)]
        dataset = SkeletonDataset(task.clips, chosen, task.train_set.settings, train=True, seed=seed)
        recipe = recipe_of(settings.finetune, scratch=scratch)
        classifier = finetune(encoder, dataset, task.num_classes, recipe, seed=seed, tell=tell, **where)
        return probabilities_of(classifier, task.test_set, len(task.test), **where)
    occluded = protocol.name == "occlusion"
    test_set: Any = OccludedDataset(task.test_set, protocol.kind, seed=settings.seed) if occluded else task.test_set
    test = features_of(encoder, test_set, len(task.test), **where)
    known = torch.as_tensor(labels[task.training])
    train_set: Any = task.train_set
    if occluded and settings.occluded_training:
        train_set = OccludedDataset(task.train_set, protocol.kind, seed=settings.seed)
    views = []
    for view in range(settings.linear.views):
        views.append(features_of(encoder, train_set, len(known), epoch=view, **where))
        tell(f"encoded view {view + 1} of {settings.linear.views} of the training clips")
    network = fit_linear(views, known, task.num_classes, settings.linear, seed=seed)
    with torch.no_grad():
        return network(test).double().softmax(1).numpy()


def recipe_of(settings: FinetuneSettings, *, scratch: bool) -> FinetuneSettings:
    """Return the fine-tuning recipe; from scratch, all layers have the same learning rate, as published.

    Args:
        settings: Fine-tuning settings.
        scratch: Whether the encoder starts from random weights.
    """
    return settings.model_copy(update={"layer_decay": 1.0}) if scratch else settings


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
