"""Which clips make a batch, in which order: a function of the seed and the epoch alone, so that runs resume exactly."""

import os
import signal
from collections import Counter
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pose_extraction.errors import UsageError
from recognition.batches import Batch
from recognition.dataset import Sample, collate, repeated

# Clips of own lengths are sorted within this many batches: little padding, and still another mixture every epoch.
BATCHES_SORTED_TOGETHER = 32
MOST_WORKERS = 8


class ClipBatches:
    """Batches of one process, as lists of (epoch, position in the data set).

    Args:
        lengths: int (N,) frames of each clip.
        labels: int (N,) class of each clip, -1 for none.
        batch_size: Clips of a batch over all processes.
        train: Whether clips are drawn anew every epoch, and a batch of one clip is avoided (BatchNorm has no variance
            of one).
        seed: Of the order.
        own_lengths: Whether a batch holds clips of like length.
        sampler: "shuffle", every clip once an epoch; "balanced", every class equally often, its clips drawn with
            replacement. For training only.
        rank: This process.
        world_size: Number of processes. Each gets a part of every batch, none of them empty.

    Raises:
        UsageError: There are fewer clips in the set or in a batch than processes.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        labels: np.ndarray,
        *,
        batch_size: int,
        train: bool,
        seed: int,
        own_lengths: bool,
        sampler: Literal["shuffle", "balanced"] = "shuffle",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if min(batch_size, len(lengths)) < world_size:
            raise UsageError(
                f"{len(lengths)} clips in batches of {batch_size} leave some of {world_size} processes without any: "
                "use fewer devices or larger batches"
            )
        self.lengths = np.asarray(lengths)
        self.labels = np.asarray(labels)
        self.batch_size = batch_size
        self.train = train
        self.seed = seed
        self.own_lengths = own_lengths
        self.sampler = sampler
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        """Batches of an epoch, the same for every epoch and process."""
        return len(self._cut(np.arange(len(self.lengths))))

    def batches(self, epoch: int) -> list[list[tuple[int, int]]]:
        """This process's part of every batch of an epoch, as keys (draw, position) of the data set.

        The draw is the epoch; a clip that comes again in an epoch is drawn anew, as `repeated` numbers it.
        """
        rng = np.random.default_rng([self.seed, epoch])
        order = self._order(rng)
        whole = self._cut(order)
        if self.train and self.own_lengths:
            # Sorted clips would come shortest first; the order of batches must not tell their length.
            whole = [whole[place] for place in rng.permutation(len(whole))]
        times: Counter[int] = Counter()
        keys: list[list[tuple[int, int]]] = []
        for batch in whole:
            keys.append([])
            for position in batch.tolist():
                keys[-1].append((repeated(epoch, times[position]), position))
                times[position] += 1
        return [self._own(batch) for batch in keys]

    def _own(self, batch: list[tuple[int, int]]) -> list[tuple[int, int]]:
        places = np.array_split(np.arange(len(batch)), self.world_size)[self.rank]
        return [batch[place] for place in places]

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        count = len(self.lengths)
        if not self.train:
            return np.argsort(self.lengths, kind="stable") if self.own_lengths else np.arange(count)
        order = rng.permutation(count) if self.sampler == "shuffle" else self._balanced(rng)
        if not self.own_lengths:
            return order
        together = BATCHES_SORTED_TOGETHER * self.batch_size
        chunks = [order[start : start + together] for start in range(0, count, together)]
        return np.concatenate([chunk[np.argsort(self.lengths[chunk], kind="stable")] for chunk in chunks])

    def _balanced(self, rng: np.random.Generator) -> np.ndarray:
        """As many clips as there are, classes taking turns in random order."""
        count = len(self.labels)
        classes = np.unique(self.labels)
        turns = np.concatenate([rng.permutation(classes) for _ in range(-(-count // len(classes)))])[:count]
        order = np.empty(count, np.int64)
        for label in classes:
            places = np.flatnonzero(turns == label)
            order[places] = rng.choice(np.flatnonzero(self.labels == label), len(places))
        return order

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        """Full batches and a rest; a rest that is too small shares the last batch's clips."""
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        fewest = max(2 if self.train else 1, self.world_size)
        if len(batches) > 1 and len(batches[-1]) < fewest:
            last = np.concatenate(batches[-2:])
            halves = np.array_split(last, 2)
            batches[-2:] = halves if len(halves[1]) >= fewest else [last]
        return batches


def make_loader(
    dataset: "Dataset[Sample]", batches: Sequence[list[tuple[int, int]]], *, workers: int | Literal["auto"]
) -> "DataLoader[Batch]":
    """Reads the given batches in their order; to go on within an epoch, hand over `batches[k:]`.

    Args:
        dataset: Where the clips come from.
        batches: Of `ClipBatches.batches`.
        workers: Processes that read ahead; auto: none on a CPU, whose cores the network needs, and up to eight beside a
            GPU.
    """
    on_gpu = torch.cuda.is_available()
    beside_gpu = min(MOST_WORKERS, max(1, len(os.sched_getaffinity(0)) - 1)) if on_gpu else 0
    return DataLoader(
        # A loader's type is that of its set's items, and knows nothing of `collate_fn`.
        cast("Dataset[Batch]", dataset),
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=beside_gpu if workers == "auto" else workers,
        worker_init_fn=_start_worker,
        # Its own generator, because a loader draws from the global one when it starts, and a resumed run would differ.
        generator=torch.Generator().manual_seed(0),
        pin_memory=on_gpu,
    )


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C and a cluster's SIGTERM reach workers too, but the run still needs their clips while it saves.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
