"""Accuracy and robustness of MaskCLR, of the same network with cross-entropy alone, and of a BiLSTM.

    python benchmarks/recognition_accuracy.py FILE.pkl [key=value]... --out FOLDER [--config NAME] [--seeds 3]
        [--split test] [--methods maskclr cross_entropy bilstm] [--variant NAME key=value,key=value]...
    python benchmarks/recognition_accuracy.py FILE.pkl --out FOLDER --tables

Settings are those of `skelpipe train`. All methods are trained on the same clips, select their epoch on the same
held-out clips, and are tested on `--split`: clean, under Gaussian noise and under joint occlusion, with the same random
draws. MaskCLR, its variants and cross-entropy share phase one, so it is trained once per seed, and each method
continues from a copy. `--variant` adds MaskCLR with other settings: `--variant random maskclr.mask=random`.

The folder contains the runs and `results.jsonl`. If interrupted, the same command continues.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.accuracy_tables import CLEAN, Condition, line_of, read_results, report
from benchmarks.bilstm import NUM_FRAMES, BiLSTMSettings, bilstm_scores, fit_bilstm, tune_bilstm
from pipeline.config import override, parse, read_config, read_words
from pose_extraction.engines.devices import parse_devices, resolve_device
from pose_extraction.engines.engine import Engine
from recognition import run_folder, runs
from recognition.data.clips import ClipSet, open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.data.perturbations import GaussianNoise, JointOcclusion, Perturbation
from recognition.inference.scores import scores_of
from recognition.settings import DataSettings, RunSettings
from recognition.training.preparation import prepare
from recognition.training.run import train

NOISE = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
OCCLUSION = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
CONDITIONS = (
    Condition(CLEAN),
    *(Condition("noise", sigma) for sigma in NOISE),
    *(Condition("occlusion", share) for share in OCCLUSION),
)
CROSS_ENTROPY, MASKCLR, BILSTM = "cross_entropy", "maskclr", "bilstm"
Scorer = Callable[[SkeletonDataset], np.ndarray]
Which = Literal["best", "last"]


def perturbation_of(condition: Condition) -> Perturbation | None:
    if condition.kind == "noise":
        return GaussianNoise(condition.level)
    return JointOcclusion(condition.level) if condition.kind == "occlusion" else None


def at_phase_two(shared: Path, folder: Path) -> None:
    """Copy a run that has completed phase one to `folder`, so that several methods can continue from it."""
    if run_folder.saved(folder, run_folder.LAST):
        return
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(shared, part)
    part.rename(folder)


def trained_run(words: Sequence[str], settings: RunSettings, folder: Path, shared: Path) -> Path:
    """Train one method's run, or resume it.

    Args:
        words: Settings of the method, as `key=value`.
        settings: Settings shared by all methods.
        folder: Run directory.
        shared: Directory of the shared run for phase one.
    """
    values = override(settings.model_dump(mode="json"), read_words(words), RunSettings)
    own = parse(values, RunSettings, place=str(folder))
    own = own.model_copy(update={"out": str(folder)})
    phase1 = settings.training.phase1_epochs
    # Phase one depends on everything except the objective and MaskCLR's settings, apart from the prototypes' width.
    same_phase1 = (
        isinstance(phase1, int)
        and phase1 > 0
        and own.data == settings.data
        and own.model == settings.model
        and own.maskclr.representation == settings.maskclr.representation
        and own.training.model_copy(update={"objective": settings.training.objective}) == settings.training
    )
    if same_phase1 and not run_folder.saved(folder, run_folder.LAST):
        assert isinstance(phase1, int)
        begun = shared if run_folder.saved(shared, run_folder.LAST) else None
        train(settings.model_copy(update={"out": str(shared)}), resume=begun, show=True, stop_after=phase1)
        at_phase_two(shared, folder)
    return train(own, resume=folder if run_folder.saved(folder, run_folder.LAST) else None, show=True)


def recognizer_scorer(folder: Path, which: Which, settings: RunSettings, batch_size: int) -> Scorer:
    trained, device = runs.load_run(folder, which), device_of(settings)
    return lambda dataset: scores_of(trained, dataset, Engine(device, "torch", "fp32", batch_size)).probabilities


def bilstm_datasets(settings: RunSettings) -> tuple[SkeletonDataset, SkeletonDataset]:
    """Return the baseline's training clips and held-out clips: the same as for the recognizers."""
    prepared, data, seed = prepare(settings), bilstm_data(settings), settings.training.seed
    return (
        SkeletonDataset(prepared.clips, prepared.training, data, train=True, seed=seed),
        SkeletonDataset(prepared.clips, prepared.held_out, data, train=False, seed=seed),
    )


def bilstm_data(settings: RunSettings) -> DataSettings:
    return settings.data.model_copy(update={"num_frames": NUM_FRAMES})


def tuned_bilstm(settings: RunSettings, file: Path, epochs: int, which: Which) -> BiLSTMSettings:
    """Return the baseline's settings, tuned once on the held-out clips of the first seed and stored in `file`."""
    if not file.exists():
        first = settings.model_copy(update={"training": settings.training.model_copy(update={"seed": 0})})
        train_part, held_out = bilstm_datasets(first)
        chosen = tune_bilstm(
            train_part,
            held_out,
            BiLSTMSettings(epochs=epochs),
            num_classes=len(train_part.clips.label_names),
            seed=0,
            device=device_of(settings),
            keep=which,
            say=say,
        )
        file.write_text(json.dumps(asdict(chosen)), encoding="utf-8")
    return BiLSTMSettings(**json.loads(file.read_text(encoding="utf-8")))


def bilstm_scorer(settings: RunSettings, chosen: BiLSTMSettings, which: Which) -> Scorer:
    """Train the baseline with one seed. It is not saved, because training takes only minutes."""
    train_part, held_out = bilstm_datasets(settings)
    model, accuracy = fit_bilstm(
        train_part,
        held_out,
        chosen,
        num_classes=len(train_part.clips.label_names),
        seed=settings.training.seed,
        device=device_of(settings),
        keep=which,
        say=say,
    )
    say(f"{BILSTM}, seed {settings.training.seed}: held-out accuracy {accuracy:.3f}")
    return lambda dataset: bilstm_scores(model, dataset)


def device_of(settings: RunSettings) -> str:
    """Return the first device of a run."""
    return resolve_device(parse_devices(settings.training.device)[0])


def say(text: str) -> None:
    print(text, flush=True)


def measure(
    method: str, seed: int, score: Scorer, clips: ClipSet, indices: np.ndarray, data: DataSettings, results: Path
) -> None:
    """Add a line for each condition without results."""
    done = read_results(results)
    for condition in CONDITIONS:
        if seed in done.get(method, {}).get(condition, {}):
            continue
        # The draws depend only on this seed and the clip, so all methods and training seeds get the same ones.
        dataset = SkeletonDataset(clips, indices, data, train=False, seed=0, perturbation=perturbation_of(condition))
        correct = score(dataset).argmax(axis=1) == clips.labels[indices]
        with results.open("a", encoding="utf-8") as lines:
            lines.write(line_of(method, seed, condition, correct) + "\n")
        say(f"{method}, seed {seed}, {condition}: {100 * correct.mean():.2f} %")


def is_measured(method: str, seed: int, results: Path) -> bool:
    done = read_results(results).get(method, {})
    return all(seed in done.get(condition, {}) for condition in CONDITIONS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="skeleton file with the training clips and --split")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="settings of `skelpipe train`, for all methods"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--config", help="base config (default: the settings of the paper)")
    parser.add_argument("--split", default="test", help="split to test on (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 (default: %(default)s)")
    parser.add_argument(
        "--methods",
        nargs="*",
        default=[CROSS_ENTROPY, MASKCLR, BILSTM],
        help="methods to train and measure (default: %(default)s)",
    )
    parser.add_argument(
        "--variant",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "KEY=VALUE,..."),
        help="MaskCLR with other settings, as a further method; repeat it for several",
    )
    parser.add_argument("--bilstm-epochs", type=int, default=60, help="epochs of the BiLSTM (default: %(default)s)")
    parser.add_argument("--tune-epochs", type=int, default=30, help="epochs for each point of the BiLSTM's grid")
    parser.add_argument("--which", choices=["best", "last"], default="best", help="epoch whose weights are tested")
    parser.add_argument("--batch-size", type=int, default=32, help="clips per batch in the test")
    parser.add_argument("--tables", action="store_true", help="only print the tables of existing results")
    arguments = parser.parse_intermixed_args()

    results = arguments.out / "results.jsonl"
    methods = {CROSS_ENTROPY: [f"training.objective={CROSS_ENTROPY}"], MASKCLR: []}
    chosen: dict[str, list[str]] = {name: methods.get(name, []) for name in arguments.methods}
    chosen |= {name: words.split(",") for name, words in arguments.variant}
    if not arguments.tables:
        arguments.out.mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = read_config(arguments.config, RunSettings) if arguments.config else {}
        values = override(values, {**read_words(arguments.settings), "data.file": str(arguments.file)}, RunSettings)
        settings = parse(values, RunSettings, place="the command line")
        for seed in range(arguments.seeds):
            training = settings.training.model_copy(update={"seed": seed, "objective": MASKCLR})
            of_seed = settings.model_copy(update={"training": training})
            for method, words in chosen.items():
                if not is_measured(method, seed, results):
                    run_method(method, words, of_seed, arguments, results)
    print(report(read_results(results), list(chosen), CROSS_ENTROPY))


def run_method(
    method: str, words: Sequence[str], settings: RunSettings, arguments: argparse.Namespace, results: Path
) -> None:
    """Train one method with one seed, and measure it."""
    seed = settings.training.seed
    name = f"{method}-seed{seed}"
    if method == BILSTM:
        data = bilstm_data(settings)
        chosen = tuned_bilstm(settings, arguments.out / "bilstm_settings.json", arguments.tune_epochs, arguments.which)
        score = bilstm_scorer(settings, replace(chosen, epochs=arguments.bilstm_epochs), arguments.which)
    else:
        folder = trained_run(words, settings, arguments.out / name, arguments.out / f"phase1-seed{seed}")
        data = runs.load_run(folder).settings.data
        score = recognizer_scorer(folder, arguments.which, settings, arguments.batch_size)
    clips = open_clips(arguments.file, data)
    measure(method, seed, score, clips, clips.splits[arguments.split], data, results)


if __name__ == "__main__":
    main()
