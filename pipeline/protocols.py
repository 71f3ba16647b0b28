"""`skelpipe evaluate --protocol`: what a pre-trained encoder is worth, by the tasks of the papers."""

import copy
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.evaluate import FOLDER, split_to_test
from pipeline.settings import changed, override, parse
from pose_extraction.annotations import ALL_CLIPS
from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write
from recognition.clips import ClipSet, open_clips, split_indices, training_indices
from recognition.dataset import SkeletonDataset
from recognition.evaluation import measure
from recognition.preparation import resolve_device, resolve_precision
from recognition.pretraining.encoder import Pretrained, load_pretrained
from recognition.protocols.features import features_of
from recognition.protocols.finetune import finetune, labelled_share, probabilities_of
from recognition.protocols.linear import fit_linear, nearest_labels
from recognition.protocols.occlusion import OccludedDataset
from recognition.protocols.settings import FinetuneSettings, ProtocolSettings, published

PROTOCOLS = ("linear", "finetune", "semi", "transfer", "knn", "occlusion", "detection", "motion")


@dataclass(frozen=True)
class Protocol:
    """A protocol by its name on the command line: `linear`, `semi:10%`, `occlusion:spatial`."""

    name: str
    share: float = 1.0
    kind: Literal["spatial", "temporal"] = "spatial"


@dataclass(frozen=True)
class Place:
    """Where the work is done."""

    device: str
    bf16: bool


@dataclass(frozen=True)
class Task:
    """An encoder and the clips that it is measured on.

    Args:
        pretrained: The encoder.
        clips: The skeleton file.
        training: int64, labelled clips to train a classifier on.
        test: int64, labelled clips to count.
        test_split: Name of their split.
        train_set: The former, drawn anew at every access.
        test_set: The latter.
    """

    pretrained: Pretrained
    clips: ClipSet
    training: np.ndarray
    test: np.ndarray
    test_split: str
    train_set: SkeletonDataset
    test_set: SkeletonDataset

    @property
    def num_classes(self) -> int:
        return len(self.clips.label_names)


def parse_protocol(word: str) -> Protocol:
    """A protocol by its name.

    Raises:
        UsageError: There is none of that name.
    """
    name, _, rest = word.partition(":")
    if name not in PROTOCOLS:
        raise UsageError(f"there is no protocol {word!r}; there are {', '.join(PROTOCOLS)}")
    if name == "semi":
        found = re.fullmatch(r"(\d+(?:\.\d+)?)%", rest or "10%")
        share = float(found[1]) / 100 if found else 0.0
        if not 0 < share <= 1:
            raise UsageError(f"--protocol {word}: say which share of the labels is known, such as semi:10%")
        return Protocol(name, share=share)
    if name == "occlusion":
        if rest not in ("", "spatial", "temporal"):
            raise UsageError(f"--protocol {word}: there are occlusion:spatial and occlusion:temporal")
        return Protocol(name, kind="temporal" if rest == "temporal" else "spatial")
    if rest:
        raise UsageError(f"--protocol {word}: {name} takes no {rest!r}; leave it out")
    return Protocol(name)


def protocol_settings(method: str, pairs: Sequence[str]) -> ProtocolSettings:
    """The method's published recipes, and what the command line changes.

    Raises:
        UsageError: A setting is unknown or wrong.
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
    device: str = "auto",
    precision: str = "auto",
    console: Console,
) -> dict[str, Any]:
    """Measures encoders by a protocol, and writes what it finds below the first one's run directory.

    Args:
        word: The protocol, such as `semi:10%`.
        runs: Run directories of `skelpipe pretrain`; the probabilities of several are averaged.
        data: Skeleton file; None for the one that the first run was trained on.
        split: To count; None for the one beside that trained on.
        train_split: To train classifiers on; None for that of the run, or the file's only one named like *train.
        pairs: `key=value`, over the method's recipes.
        scratch: Whether encoders begin with fresh weights, to compare with.
        skip_bad: Whether to go on without malformed clips.
        device: Where to compute.
        precision: In what.
        console: Where progress and warnings are told.

    Returns:
        What was found, for JSON.

    Raises:
        UsageError: Protocol, runs and file do not go together.
        AnnotationError: The skeleton file is malformed.
        WeightsError: A run cannot be read.
    """
    protocol = parse_protocol(word)
    where = resolve_device(device)
    place = Place(where, resolve_precision(precision, where) == "bf16")
    loaded = [load_pretrained(run) for run in runs]
    first = loaded[0]
    if protocol.name == "transfer" and (data is None or str(data.resolve()) == first.settings.data.file):
        raise UsageError("--protocol transfer: name a file with --data that the encoder was not pre-trained on")
    settings = protocol_settings(first.settings.method, pairs)
    if scratch:
        loaded = [load_pretrained(run, scratch=True, seed=settings.seed) for run in runs]
        first = loaded[0]
    path = data if data is not None else Path(first.settings.data.file)
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; name a skeleton file with --data")

    def tell(line: str) -> None:
        console.print(Text(line))

    if protocol.name in ("detection", "motion"):
        from pipeline.dense_protocols import run_dense_protocol

        if len(loaded) > 1:
            raise UsageError(f"--protocol {protocol.name}: one encoder at a time; leave --fuse out")
        found = run_dense_protocol(
            protocol.name,
            first,
            path,
            split,
            settings,
            train_split=train_split,
            place=place,
            scratch=scratch,
            tell=tell,
        )
    else:
        tasks = [
            _task(pretrained, path, split, settings, train_split=train_split, skip_bad=skip_bad)
            for pretrained in loaded
        ]
        tell(
            f"{len(tasks[0].training)} clips to train on, {len(tasks[0].test)} of {path.name}'s {tasks[0].test_split} "
            "to count"
        )
        found = _by_classes(protocol, tasks, settings, place=place, scratch=scratch, tell=tell)
    result = {
        "protocol": word,
        "runs": [str(pretrained.path) for pretrained in loaded],
        "method": first.settings.method,
        "epoch": first.epoch,
        "scratch": scratch,
        "data": str(path),
        "settings": settings.model_dump(mode="json"),
        **found,
    }
    start = "-scratch" if scratch else ""
    fused = "-fused" if len(loaded) > 1 else ""
    name = re.sub(r"[^\w.-]", "_", f"{path.stem}-{word}{start}{fused}")
    folder = first.path.parent / FOLDER / name
    with atomic_write(folder / "evaluation.json") as file:
        file.write(json.dumps(result, indent=1, ensure_ascii=False).encode())
    return {**result, "folder": str(folder)}


def _task(
    pretrained: Pretrained,
    path: Path,
    split: str | None,
    settings: ProtocolSettings,
    *,
    train_split: str | None,
    skip_bad: bool,
) -> Task:
    data = pretrained.settings.data
    own = str(path.resolve()) == data.file
    data = data.model_copy(
        update={
            "file": str(path.resolve()),
            "train_split": train_split or (data.train_split if own and data.train_split != ALL_CLIPS else "auto"),
            "part_range_train": settings.parts,
            "part_test": data.part_test if settings.part_test is None else settings.part_test,
            "skip_bad": skip_bad or data.skip_bad,
        }
    )
    clips = open_clips(path, data, leave_out_empty=True)
    if clips.dimensions != pretrained.dimensions:
        raise UsageError(
            f"{path}: has joints in {clips.dimensions}D, and {pretrained.path} was pre-trained on "
            f"{pretrained.layout} in {pretrained.dimensions}D; choose a file of the same kind"
        )
    training = training_indices(clips, data)
    test_split = split if split is not None else split_to_test(clips, data)
    test = np.arange(len(clips)) if test_split == ALL_CLIPS else split_indices(clips, test_split)
    test = test[clips.labels[test] >= 0]
    if not len(test):
        raise UsageError(f"{path}: no clip of split {test_split!r} has a label; add some with `skelpipe label`")
    train_set = SkeletonDataset(clips, training, data, train=True, seed=settings.seed)
    if train_set.layout.name != pretrained.layout:
        raise UsageError(
            f"{path}: has the joints of {train_set.layout.name}, and {pretrained.path} was pre-trained on "
            f"{pretrained.layout}; choose a file of the same kind"
        )
    return Task(
        pretrained, clips, training, test, test_split, train_set, SkeletonDataset(clips, test, data, train=False)
    )


def _by_classes(
    protocol: Protocol,
    tasks: Sequence[Task],
    settings: ProtocolSettings,
    *,
    place: Place,
    scratch: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Protocols that end in a class for each clip."""
    labels = tasks[0].clips.labels[tasks[0].test]
    seeds = [settings.seed + run for run in range(settings.runs)] if protocol.name == "semi" else [settings.seed]
    accuracies = []
    for seed in seeds:
        total: np.ndarray = np.zeros(())
        for task in tasks:
            total = total + _probabilities(protocol, task, settings, seed=seed, place=place, scratch=scratch, tell=tell)
        metrics = measure(total / len(tasks), labels, unanswered=np.zeros(0, np.int64))
        accuracies.append(metrics.top1)
        if len(seeds) > 1:
            tell(f"subset {seed}: top-1 {metrics.top1:.2%}")
    found: dict[str, Any] = {
        "split": tasks[0].test_split,
        "clips": len(labels),
        "top1": float(np.mean(accuracies)),
        "top1_interval": list(metrics.top1_interval) if len(seeds) == 1 else None,
        "mean_class": metrics.mean_class if len(seeds) == 1 else None,
    }
    if len(seeds) > 1:
        found |= {"top1_runs": accuracies, "top1_deviation": float(np.std(accuracies, ddof=1))}
    return found


def _probabilities(
    protocol: Protocol,
    task: Task,
    settings: ProtocolSettings,
    *,
    seed: int,
    place: Place,
    scratch: bool,
    tell: Callable[[str], None],
) -> np.ndarray:
    """Of all classes for all clips to count, float64 (N, K)."""
    encoder = copy.deepcopy(task.pretrained.encoder).to(place.device)
    where: dict[str, Any] = {"device": place.device, "bf16": place.bf16}
    labels = task.clips.labels
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
    if protocol.name == "knn":
        # Training clips as tests see them: the middle part, and nothing drawn.
        gallery_set = SkeletonDataset(task.clips, task.training, task.test_set.settings, train=False)
        found = nearest_labels(features_of(encoder, gallery_set, len(known), **where), known, test)
        return np.eye(task.num_classes)[found.numpy()]
    train_set: Any = task.train_set
    if occluded and settings.occluded_training:
        train_set = OccludedDataset(task.train_set, protocol.kind, seed=settings.seed)
    views = []
    for view in range(settings.linear.views):
        views.append(features_of(encoder, train_set, len(known), epoch=view, **where))
        tell(f"encoded the training clips, view {view + 1} of {settings.linear.views}")
    network = fit_linear(views, known, task.num_classes, settings.linear, seed=seed)
    with torch.no_grad():
        return network(test).double().softmax(1).numpy()


def recipe_of(settings: FinetuneSettings, *, scratch: bool) -> FinetuneSettings:
    """The recipe from scratch has one learning rate for all layers, as published."""
    return settings.model_copy(update={"layer_decay": 1.0}) if scratch else settings


def print_protocol(result: dict[str, Any], console: Console) -> None:
    """What was found, as a table."""
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
                shown += f"  (mean of {len(result['top1_runs'])} subsets, deviation {result['top1_deviation']:.2%})"
            table.add_row(name, shown)
    console.print(table)
