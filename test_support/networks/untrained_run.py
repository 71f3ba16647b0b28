"""A run directory with random weights, for tests that do not depend on what was learned."""

from pathlib import Path

from recognition import run_file, run_folder
from recognition.recognizer import build_recognizer
from recognition.settings import DataSettings, ModelSettings, RunSettings, TrainingSettings
from recognition.training.preparation import prepare
from test_support.networks.trained_run import made_data


def untrained_run(folder: Path) -> tuple[Path, Path]:
    """Return a run directory and its skeleton file, made in a second; `best` and `last` have different weights."""
    data = made_data(folder / "made.pkl")
    settings = RunSettings(
        data=DataSettings(file=str(data), num_frames="own", max_frames=16, holdout=0.2, descriptors=False),
        model=ModelSettings(
            backbone="dstformer", dim=16, depth=1, heads=2, dim_representation=16, hidden=32, max_frames=16
        ),
        training=TrainingSettings(phase1_epochs=1, phase2_epochs=0, device="cpu", precision="fp32"),
    )
    prepared = prepare(settings).at(folder / "runs" / "mine")
    run = Path(prepared.settings.out)
    identity = run_folder.identity_of(
        prepared.settings,
        label_names=prepared.label_names,
        layout=prepared.layout.name,
        num_joints=prepared.layout.num_joints,
        channels=prepared.channels,
        dimensions=2,
        estimator="made",
        extraction={"estimator": "made", "estimator_file": str(folder / "made.onnx")},
    ) | {"content_digest": prepared.content_digest}
    about = {"data": str(data), "content_digest": prepared.content_digest, **prepared.composition()}
    run_folder.begin_run(run, prepared.settings, label_names=prepared.label_names, split=prepared.split(), about=about)
    for number, name in enumerate((run_folder.BEST, run_folder.LAST)):
        recognizer = build_recognizer(
            prepared.settings.model, num_joints=prepared.layout.num_joints, channels=3, num_classes=3
        )
        weights = {f"recognizer.{key}": tensor for key, tensor in recognizer.state_dict().items()}
        position = {"epoch": 1, "step": number + 1, "phase": 1, "held_out": None}
        run_file.save(run / name, {**identity, "model": weights, **position})
    return run, data
