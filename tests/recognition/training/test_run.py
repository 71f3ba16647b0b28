"""Training: learning, metrics, stopping on errors, and equal results with several processes."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from pose_extraction.errors import TrainingError, UsageError, WeightsError
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.validation import read_data_set
from recognition import run_file, runs
from recognition.engine.loop import Loop, NotFiniteError
from recognition.engine.training_run import TrainingRun
from recognition.training import recognizer_training
from recognition.training.preparation import prepare
from recognition.training.recognizer_training import RecognizerTraining
from recognition.training.run import train
from test_support.clips.made_clips import annotation, write_clips
from test_support.clips.made_motions import write_motions
from test_support.processes.training_driver import small_settings

pytestmark = [pytest.mark.processor, pytest.mark.slow]


@pytest.fixture(scope="module")
def motions(tmp_path_factory):
    return write_motions(tmp_path_factory.mktemp("data") / "motions.pkl", clips=96)


@pytest.fixture(scope="module")
def learned(motions, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "learned"
    # With a constant rate, the running statistics of batch normalisation lag behind the weights, and accuracy jumps.
    return train(small_settings(motions, out, "phase1_epochs=12", "phase2_epochs=6", "schedule=cosine"))


def metrics(run, kind):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def loop_of(settings):
    """The loop of a run in one process, without its directory."""
    return Loop(Fabric(accelerator="cpu", devices=1), RecognizerTraining(prepare(settings)), accumulate=2)


def test_training_learns_clearly_different_motions(learned):
    last = metrics(learned, "epoch")[-1]
    # At least 0.98 with ten seeds; 0.33 is chance.
    assert last["held_out_top1"] > 0.7
    assert last["train_top1"] > 0.7


@pytest.mark.parametrize("weighted", [False, True])
def test_parts_of_a_step_add_up_to_the_whole(motions, tmp_path, weighted):
    settings = small_settings(motions, tmp_path, "accumulate=2")
    loop, fresh = loop_of(settings), loop_of(settings)
    classes = loop.training.prepared.num_classes
    for each in (loop, fresh):
        # In evaluation mode, the loss of a clip does not depend on other clips, so it can be computed by hand.
        each.module.eval()
        each.training.objective.class_weights = torch.linspace(0.3, 1.7, classes) if weighted else None
    loop.training.phase1 = 10
    parts = [next(loop.load([[(0, place) for place in places]])) for places in ((0, 1, 2, 3, 4), (5, 6))]
    loop.step(parts, progress=0.2)
    whole = next(fresh.load([[(0, place) for place in range(7)]]))
    fresh.module(whole, phase=1, epoch=0, warm_prototypes=False)["total"].backward()
    given, wanted = (each.training.objective.recognizer.head.fc2.weight.grad for each in (loop, fresh))
    torch.testing.assert_close(given, wanted)


def test_phase_two_brings_the_contrastive_losses_and_full_prototypes(learned):
    steps = metrics(learned, "step")
    assert {step["phase"] for step in steps if step["epoch"] < 12} == {1}
    assert {step["phase"] for step in steps if step["epoch"] >= 12} == {2}
    first = next(step for step in steps if step["phase"] == 2)
    # Warmed in the last epoch of phase one, so the first step already has a class loss.
    assert first["klass"] > 0 and first["sample"] > 0
    expected = first["cross_entropy"] + 0.9 * first["sample"] + 0.1 * first["klass"]
    assert first["total"] == pytest.approx(expected, rel=1e-5)
    assert bool(run_file.load(learned / "last.safetensors")["model"]["known"].all())


def test_best_is_the_epoch_of_phase_two_with_the_highest_accuracy_then_the_lowest_loss(motions, tmp_path, monkeypatch):
    """The held-out figures are given, so that the choice does not depend on how a training turns out."""
    # Accuracy and loss after each epoch, first the two of phase one. Phase two never becomes as good.
    figures = [(0.9, 0.2), (1.0, 0.1), (0.2, 2.0), (0.4, 3.0), (0.4, 2.5), (0.3, 0.5)]
    measures = iter([{"top1": top1, "mean_class": top1, "loss": loss, "clips": 24.0} for top1, loss in figures])
    monkeypatch.setattr(recognizer_training, "measure", lambda *_: next(measures))
    words = ("phase1_epochs=2", "phase2_epochs=4", "holdout=0.5")
    run = train(small_settings(motions, tmp_path / "run", *words), stop_after=2)
    assert (runs.load_run(run).epoch, runs.load_run(run).phase) == (2, 1)
    run = train(small_settings(motions, run, *words), resume=run)
    assert [(line["held_out_top1"], line["held_out_loss"]) for line in metrics(run, "epoch")] == figures
    best = run_file.load(run / "best.safetensors")
    assert best["epoch"] == 5 and (best["held_out"]["top1"], best["held_out"]["loss"]) == (0.4, 2.5)
    assert (runs.load_run(run).epoch, runs.load_run(run).phase) == (5, 2)


def test_the_learning_rates_are_those_of_backbone_and_head(motions, tmp_path):
    run = train(small_settings(motions, tmp_path / "run", "backbone_lr=1e-3", "head_lr=2e-3", "phase2_epochs=0"))
    rates = {(step["epoch"], step["lr_backbone"], step["lr_head"]) for step in metrics(run, "step")}
    assert rates == {(0, 1e-3, 2e-3), (1, 1e-3 * 0.99, 2e-3 * 0.99)}
    optimizer = run_file.load(run / "last.safetensors")["training"]["optimizer"]["param_groups"]
    assert [len(group["params"]) > 0 for group in optimizer] == [True, True]


def test_cross_entropy_alone_is_phase_one_for_all_epochs(motions, tmp_path):
    run = train(small_settings(motions, tmp_path / "run", "objective=cross_entropy", "phase1_epochs=1"))
    steps = metrics(run, "step")
    assert {step["phase"] for step in steps} == {1}
    assert {step["epoch"] for step in steps} == {0, 1, 2}
    assert not run_file.load(run / "last.safetensors")["model"]["known"].any()


def test_an_objective_can_branch_off_after_phase_one(motions, tmp_path):
    """Phase one is the same for both objectives, so a comparison needs it only once."""
    trunk = train(small_settings(motions, tmp_path / "trunk"), stop_after=2)
    steps_before = metrics(trunk, "step")
    train(small_settings(motions, trunk, "objective=cross_entropy"), resume=trunk)
    whole = train(small_settings(motions, tmp_path / "whole", "objective=cross_entropy"))
    assert metrics(trunk, "step")[: len(steps_before)] == steps_before
    assert metrics(trunk, "step") == metrics(whole, "step")


def test_without_a_phase_one_the_prototypes_are_warmed_first(motions, tmp_path):
    run = train(small_settings(motions, tmp_path / "run", "phase1_epochs=0", "phase2_epochs=1"))
    # Not the first step alone: random weights may put none of its clips into the right class.
    assert max(step["klass"] for step in metrics(run, "step")) > 0


def test_phase_one_of_cross_entropy_continues_with_full_prototypes(motions, tmp_path):
    alone = ("objective=cross_entropy", "phase1_epochs=2", "phase2_epochs=0")
    run = train(small_settings(motions, tmp_path / "run", *alone))
    assert not run_file.load(run / "last.safetensors")["model"]["known"].any()
    train(small_settings(motions, run, "phase1_epochs=2", "phase2_epochs=1"), resume=run)
    first = next(step for step in metrics(run, "step") if step["phase"] == 2)
    assert first["klass"] > 0
    assert bool(run_file.load(run / "last.safetensors")["model"]["known"].any())


def test_options_of_the_loop_work(motions, tmp_path):
    words = (
        "accumulate=2",
        "clip_gradient=1",
        "label_smoothing=0.1",
        "class_weights=balanced",
        "sampler=balanced",
        "schedule=cosine",
        "warmup_epochs=1",
        "precision=bf16",
        "flip=0.5",
        "num_frames=12",
    )
    run = train(small_settings(motions, tmp_path / "run", *words))
    assert metrics(run, "epoch")[-1]["epoch"] == 3


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile makes C++ of a network, and there is no g++")
@pytest.mark.timeout(600)
def test_a_compiled_network_learns_the_same(motions, tmp_path):
    # A small network: the C++ compiler takes most of the time.
    words = ("phase1_epochs=1", "phase2_epochs=0", "dropout=0", "backbone=transformer", "depth=1")
    plain = train(small_settings(motions, tmp_path / "plain", *words))
    compiled = train(small_settings(motions, tmp_path / "compiled", *words, "compile=true"))
    losses = [[step["total"] for step in metrics(run, "step")] for run in (plain, compiled)]
    assert losses[0] and losses[1] == pytest.approx(losses[0], rel=1e-4)
    names = [set(run_file.load(run / "last.safetensors")["model"]) for run in (plain, compiled)]
    assert names[0] == names[1]


def test_early_stopping_ends_a_run_without_improvement(motions, tmp_path):
    # Only the running statistics of batch normalisation change, and settle within some dozens of epochs.
    words = ("early_stopping=2", "backbone_lr=1e-12", "head_lr=1e-12", "phase1_epochs=1", "phase2_epochs=300")
    run = train(small_settings(motions, tmp_path / "run", *words))
    epochs = [epoch for epoch in metrics(run, "epoch") if epoch["phase"] == 2]
    best = max(epochs, key=lambda epoch: (epoch["held_out_top1"], -epoch["held_out_loss"]))
    assert len(epochs) - 1 - epochs.index(best) == 2
    with pytest.raises(UsageError, match="early_stopping requires a held-out part"):
        prepare(small_settings(motions, tmp_path / "other", *words, "holdout=0"))


def test_without_a_held_out_part_the_last_is_the_best(motions, tmp_path):
    run = train(small_settings(motions, tmp_path / "run", "holdout=0", "phase1_epochs=1", "phase2_epochs=1"))
    last, best = run_file.load(run / "last.safetensors"), run_file.load(run / "best.safetensors")
    assert all(torch.equal(tensor, best["model"][name]) for name, tensor in last["model"].items())
    assert best["held_out"] is None and runs.load_run(run).held_out == {}


def test_loss_that_is_not_finite_stops_the_run(motions, tmp_path):
    run = tmp_path / "run"
    words = ("backbone_lr=1e30", "head_lr=1e30")
    with pytest.raises(
        TrainingError, match=r"the loss is (nan|inf) at step 2 of epoch 1, in the clips clip\d+"
    ) as stop:
        train(small_settings(motions, run, *words))
    assert "lower training.backbone_lr" in str(stop.value)
    last = run_file.load(run / "last.safetensors")
    assert last["step"] == 0
    assert all(bool(torch.isfinite(tensor).all()) for tensor in last["model"].values())


def test_only_micro_batches_with_losses_that_are_not_finite_are_named(motions, tmp_path):
    loop = loop_of(small_settings(motions, tmp_path, "accumulate=2"))
    first, second = (next(loop.load([[(0, place) for place in places]])) for places in ((0, 1, 2), (3, 4)))
    calls = iter((1.0, torch.inf))
    loop.training.objective.recognizer.head.fc2.register_forward_hook(lambda _, __, logits: logits * next(calls))
    with pytest.raises(NotFiniteError) as failure:
        loop.step([first, second], progress=0.2)
    assert str(failure.value).endswith(f"in the clips {', '.join(second.names)}")


class RootOfWhatIsNothing(torch.autograd.Function):
    """Zero with a gradient of NaN, as the square root of squares that vanish."""

    @staticmethod
    def forward(ctx, value):
        return value * 0

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.nan


@pytest.mark.parametrize("words", [(), ("clip_gradient=1",)])
def test_gradient_that_is_not_finite_does_not_reach_the_weights(motions, tmp_path, words):
    settings = small_settings(motions, tmp_path, *words)
    (tmp_path / "metrics.jsonl").touch()
    prepared = prepare(settings)
    training = RecognizerTraining(prepared)
    run = TrainingRun(
        Fabric(accelerator="cpu", devices=1), training, prepared, None, identity={"skelpipe_run": run_file.FORMAT}
    )
    classes = training.objective.recognizer.head.fc2
    classes.register_forward_hook(lambda _, __, logits: logits + RootOfWhatIsNothing.apply(logits))
    before = {name: tensor.clone() for name, tensor in training.objective.recognizer.named_parameters()}
    failure = run.run(1)
    run.close()
    assert isinstance(failure, TrainingError)
    assert re.search(r"the norm of the gradient is nan at step 1 of epoch 1, in the clips clip\d+", str(failure))
    for name, tensor in training.objective.recognizer.named_parameters():
        assert torch.equal(tensor, before[name]), name
    last = run_file.load(tmp_path / "last.safetensors")
    assert last["step"] == 0 and all(bool(tensor.isfinite().all()) for tensor in last["model"].values())


def train_apart(file, out, *words) -> int:
    """Train in a new interpreter, which has loaded nothing else before it starts processes."""
    code = "import sys; from pathlib import Path; from test_support.processes.training_driver import run_to_end; "
    code += "run_to_end(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:], False)"
    root = Path(__file__).parents[3]
    return subprocess.run([sys.executable, "-c", code, str(file), str(out), *words], cwd=root).returncode


def test_two_processes_train_like_one(motions, tmp_path):
    words = ("dropout=0", "phase1_epochs=1", "phase2_epochs=1")
    one = train(small_settings(motions, tmp_path / "one", *words))
    two = tmp_path / "two"
    assert train_apart(motions, two, *words, "devices=2") == 0
    for kind in ("step", "epoch"):
        for alone, shared in zip(metrics(one, kind), metrics(two, kind), strict=True):
            for name in alone.keys() - {"kind", "clips_per_second", "masked_contrast"}:
                # Rounding can change the prediction of one of 24 held-out clips.
                near = 0.05 if name.endswith(("top1", "mean_class")) else 2e-4
                assert shared[name] == pytest.approx(alone[name], rel=2e-3, abs=near), name


def test_errors_of_two_processes_have_the_same_message(motions, tmp_path):
    words = ("backbone_lr=1e30", "head_lr=1e30", "devices=2")
    assert train_apart(motions, tmp_path / "run", *words) == 1
    log = (tmp_path / "run.txt").read_text()
    assert re.search(r"the loss is (nan|inf) at step 2", log)
    # The loss is computed over the clips of both processes.
    assert len(set(re.findall(r"clip\d+", log))) == 8


def test_an_earlier_run_can_learn_other_classes(learned, tmp_path):
    other = write_motions(tmp_path / "other.pkl", seed=3, classes=("left arm", "right arm"))
    words = (f"init={learned}", "phase1_epochs=1", "phase2_epochs=0", "backbone_lr=1e-9", "head_lr=1e-9")
    run = train(small_settings(other, tmp_path / "tuned", *words))
    before, after = runs.load_run(learned), runs.load_run(run)
    assert after.label_names == ("left arm", "right arm")
    assert after.recognizer.num_classes == 2
    for name, tensor in before.recognizer.backbone.state_dict().items():
        assert torch.allclose(tensor, after.recognizer.backbone.state_dict()[name], atol=1e-6), name
    assert torch.allclose(before.recognizer.head.fc1.weight, after.recognizer.head.fc1.weight, atol=1e-6)


def test_initial_weights_determine_an_open_model(learned, motions, tmp_path):
    settings = small_settings(motions, tmp_path / "run", f"init={learned}", "model=auto", "dropout=0.25")
    model = prepare(settings).settings.model
    assert (model.dim, model.dropout) == (16, 0.25)
    with pytest.raises(WeightsError, match="set model=auto to use the model of the run"):
        train(small_settings(motions, tmp_path / "other", f"init={learned}", "dim=32"))


def test_persons_in_no_sampled_frame_do_not_break_training(motions, tmp_path):
    data = read_data_set(motions)
    late = data["annotations"][-1]
    frames = 60
    late |= {"total_frames": frames, "keypoint": np.zeros((1, frames, 17, 2), np.float32)}
    late["keypoint_score"] = np.zeros((1, frames, 17), np.float32)
    # Seen only here, between the frames that a test with 10 frames samples, and rarely in training.
    late["keypoint"][:, 3], late["keypoint_score"][:, 3] = np.arange(1, 35).reshape(17, 2), 0.9
    file = tmp_path / "late.pkl"
    write_pickle(file, data)
    words = ("num_frames=10", "phase1_epochs=1", "phase2_epochs=4", "holdout=0", "batch_size=4")
    run = train(small_settings(file, tmp_path / "run", *words))
    assert metrics(run, "epoch")[-1]["epoch"] == 4


def test_weights_for_2d_joints_are_refused_for_3d_joints(tmp_path):
    rng = np.random.default_rng(0)
    short = ("phase1_epochs=1", "phase2_epochs=0", "holdout=0")
    flat, deep = (
        write_clips(
            tmp_path / f"{count}.pkl",
            [annotation(f"c{n}", rng, label=n % 2, joints=20, dimensions=count) for n in range(8)],
        )
        for count in (2, 3)
    )
    run = train(small_settings(flat, tmp_path / "flat", *short))
    with pytest.raises(UsageError, match="was trained on joints in 2D, but these are in 3D"):
        train(small_settings(deep, tmp_path / "deep", f"init={run}", *short))


def test_initial_weights_determine_the_reading_of_clips(motions, tmp_path):
    short = ("phase1_epochs=1", "phase2_epochs=0")
    framed = train(small_settings(motions, tmp_path / "framed", "placement=frame", "max_persons=1", *short))
    begins = (f"init={framed}", *short)
    data = prepare(small_settings(motions, tmp_path / "run", *begins)).settings.data
    assert (data.placement, data.max_persons) == ("frame", 1)
    data = prepare(small_settings(motions, tmp_path / "run", *begins, "placement=box")).settings.data
    assert (data.placement, data.max_persons) == ("box", 1)
