"""The methods of the bench by name."""

import functools
from collections.abc import Callable

from benchmarks.rivals.calibrated import Calibrated
from benchmarks.rivals.classical import Chance, Classical, Features, svm, trees
from benchmarks.rivals.descriptors import Descriptors
from benchmarks.rivals.method import Method
from benchmarks.rivals.networks import Budget, Network, Recurrent

# Name of the method that is judged; all others are its rivals.
OURS = "default"
# The published MaskCLR with a network that trains on a processor in minutes; every clip is used for training, and the
# last weights are tested, because a tenth of few clips is too small to choose an epoch.
_ALL_CLIPS = "data.holdout=0"
_PUBLISHED = ["small", "data.flip=0", _ALL_CLIPS]
# The network of the default alone, and without parts of its training. The number of epochs is fixed, so that neither
# the machine nor the cost of a loss decides it: as many as `auto` chooses for 80 clips on two idle cores.
_EPOCHS = ["training.phase1_epochs=27", "training.phase2_epochs=27"]
ABLATIONS = {
    "network": ("its network alone", []),
    "network_cross_entropy": ("cross-entropy alone", ["objective=cross_entropy"]),
    "network_masked": ("masked pathway, no contrast", ["maskclr.alpha=0", "maskclr.beta=0"]),
    "network_class": ("and the class loss", ["maskclr.alpha=0"]),
    "network_sample": ("and the sample loss", ["maskclr.beta=0"]),
    "network_random_mask": ("random masks", ["maskclr.mask=random"]),
    "network_random_weights": ("random initial weights", ["init=null"]),
}
TITLES = {
    OURS: "default",
    "descriptors": "descriptors alone",
    "descriptors_mirrored": "descriptors, mirrored",
    "descriptors_unmirrored": "descriptors, not mirrored",
    "svm": "SVM",
    "trees": "trees",
    "svm_copies": "SVM with copies",
    "trees_copies": "trees with copies",
    "svm_unmirrored": "SVM, not mirrored",
    "trees_unmirrored": "trees, not mirrored",
    "svm_copies_unmirrored": "SVM with copies, not mirrored",
    "trees_copies_unmirrored": "trees with copies, not mirrored",
    "svm_calibrated": "SVM, calibrated",
    "trees_calibrated": "trees, calibrated",
    "cross_entropy": "cross-entropy",
    "maskclr": "MaskCLR",
    "bilstm": "BiLSTM",
    "stgcnpp": "ST-GCN++",
    "poseconv3d": "PoseConv3D",
    "chance": "chance",
    **{name: title for name, (title, _) in ABLATIONS.items()},
}
_BASELINE = ["model=small", "flip=auto", "batch_size=16", "backbone_lr=4e-3", "head_lr=4e-3", "warmup_epochs=1"]


def methods(budget: Budget) -> dict[str, Callable[[], Method]]:
    """Return functions that create the methods.

    Args:
        budget: Length of the training of the networks, except for that of our default.

    Returns:
        For each name in `TITLES`, a function without arguments. Classical methods share one cache of features.
    """
    features = Features()
    return {
        OURS: lambda: Network(),
        "descriptors": Descriptors,
        "descriptors_mirrored": lambda: Descriptors(["data.flip=0.5"]),
        "descriptors_unmirrored": lambda: Descriptors(["data.flip=0"]),
        "svm": lambda: Classical(svm, features),
        "trees": lambda: Classical(trees, features),
        "svm_copies": lambda: Classical(svm, features, copies=True),
        "trees_copies": lambda: Classical(trees, features, copies=True),
        "svm_unmirrored": lambda: Classical(svm, features, mirrored=False),
        "trees_unmirrored": lambda: Classical(trees, features, mirrored=False),
        "svm_copies_unmirrored": lambda: Classical(svm, features, copies=True, mirrored=False),
        "trees_copies_unmirrored": lambda: Classical(trees, features, copies=True, mirrored=False),
        "svm_calibrated": lambda: Calibrated(lambda: Classical(svm, features)),
        "trees_calibrated": lambda: Calibrated(lambda: Classical(trees, features)),
        "cross_entropy": lambda: Network(
            [*_PUBLISHED, "objective=cross_entropy"], phases=["phase1"], which="last", budget=budget
        ),
        "maskclr": lambda: Network(_PUBLISHED, phases=["phase1", "phase2"], which="last", budget=budget),
        "bilstm": lambda: Recurrent(budget),
        "stgcnpp": lambda: Network(
            ["baselines/stgcnpp", *_BASELINE, *_of_length(32), _ALL_CLIPS],
            phases=["phase1"],
            which="last",
            budget=budget,
        ),
        "poseconv3d": lambda: Network(
            ["baselines/poseconv3d", *_BASELINE, *_of_length(16), _ALL_CLIPS],
            phases=["phase1"],
            which="last",
            budget=budget,
        ),
        "chance": Chance,
        **{
            name: functools.partial(Network, ["custom", "data.descriptors=false", *_EPOCHS, *words])
            for name, (_, words) in ABLATIONS.items()
        },
    }


def _of_length(frames: int) -> list[str]:
    return [f"data.num_frames={frames}", f"data.max_frames={frames}", f"model.max_frames={frames}"]
