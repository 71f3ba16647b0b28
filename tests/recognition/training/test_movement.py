"""The classifier of descriptors in a run: fitted from few clips, stored, resumed, exported, joined with the network."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax

from pipeline.train.settings import resumed_train_settings
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError, WeightsError
from recognition import run_file, runs
from recognition.confidence.confidence import KEPT, fit_confidence
from recognition.confidence.feature_distance import fit_feature_distance, left_out_distances
from recognition.data.clip_transforms import ClipTransforms
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset
from recognition.data.descriptors.kernel_ridge import kernel_of, left_out_likelihood, squared_distances, standardised
from recognition.data.descriptors.movement import describe_clip
from recognition.inference.scores import scores_of
from recognition.settings import RunSettings
from recognition.training.clip_groups import note_on_groups
from recognition.training.held_out_measures import FEWEST_CLIPS
from recognition.training.mirroring import with_mirroring
from recognition.training.movement import fit_movement, left_out_clips, without_held_out_clips
from recognition.training.preparation import prepare
from recognition.training.run import train
from test_support.clips.made_motions import write_motions

TRAINING = {"phase1_epochs": 1, "phase2_epochs": 1, "warmup_epochs": 0, "device": "cpu", "precision": "fp32"}
# Left and right arms are classes of their own.
DATA = {"descriptors": "auto", "num_frames": "own", "max_frames": 16, "frame_rate": 12, "holdout": "auto", "flip": 0}


def settings_for(folder: Path, *, clips: int = 24, **data: object) -> RunSettings:
    file = write_motions(folder / "motions.pkl", clips=clips)
    values = {"file": str(file), **DATA, **data}
    return RunSettings.model_validate(
        {"out": str(folder / "run"), "data": values, "model": {"size": "auto", "dim": 16}, "training": TRAINING}
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(settings_for(tmp_path_factory.mktemp("movement")))


def test_eighteen_clips_suffice_whatever_the_network_has_learned(run: Path) -> None:
    trained = runs.load_run(run)
    movement = trained.recognizer.movement
    assert movement is not None and movement.is_fitted and movement.network_share == pytest.approx(0.1)
    clips = open_clips(Path(trained.settings.data.file), trained.settings.data)
    test = SkeletonDataset(clips, clips.splits["test"], trained.settings.data, train=False)
    scores = scores_of(trained, test, Engine("cpu", "torch", "fp32"))
    assert (scores.probabilities.argmax(axis=1) == scores.labels).all()


@pytest.mark.slow
def test_people_whose_legs_are_never_seen_are_recognised_if_the_training_included_them(tmp_path: Path) -> None:
    prepared = [prepare(settings_for(tmp_path, clips=48, cut_off=cut_off)) for cut_off in (False, True)]
    whole, cut = map(fit_movement, prepared)
    assert len(cut.centres) > len(whole.centres)
    transforms = ClipTransforms(prepared[0].clips, prepared[0].settings.data)
    test = prepared[0].clips.splits["test"]
    rows = []
    for index in test:
        keypoint, time = transforms.described_joints(prepared[0].clips[int(index)])
        keypoint[:, :, 11:] = np.nan
        rows.append(describe_clip(keypoint, time))
    labels = prepared[0].clips.labels[test]
    right = [(fitted.logits(np.stack(rows)).argmax(axis=1) == labels).mean() for fitted in (whole, cut)]
    assert right[1] == 1 and right[0] <= right[1]


def test_confidence_is_fitted_on_training_clips_that_the_classifier_left_out(run: Path) -> None:
    trained = runs.load_run(run)
    prepared = prepare(trained.settings)
    apart = left_out_clips(fit_movement(prepared), prepared)
    clips = SkeletonDataset(prepared.clips, apart.indices, trained.settings.data, train=False)
    descriptors = np.stack([clips[place].descriptor for place in range(len(clips))])
    labels = prepared.clips.labels[apart.indices]
    far = left_out_distances(descriptors, labels, apart.groups)
    distance = fit_feature_distance(descriptors, labels)
    expected = fit_confidence(apart.logits, labels, distance=distance, distances=far, of_descriptors=apart.logits)
    found = trained.confidence
    assert found.of_descriptors
    assert found.clips == len(prepared.training) + len(prepared.held_out) == 18
    assert (found.kind, found.threshold) == ("combined", None)
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-3)
    assert found.spreads == pytest.approx(expected.spreads, rel=1e-3)
    assert found.distance is not None and expected.distance is not None
    np.testing.assert_allclose(found.distance(descriptors), expected.distance(descriptors), rtol=1e-3, atol=1e-3)


def test_a_network_that_has_learned_little_makes_no_known_clip_unknown(tmp_path: Path) -> None:
    # After two epochs, its tenth of the joint probability is nearly the same for all actions.
    trained = runs.load_run(train(settings_for(tmp_path, clips=36)))
    clips = open_clips(Path(trained.settings.data.file), trained.settings.data)
    training = SkeletonDataset(clips, clips.splits["train"], trained.settings.data, train=False)
    scores = scores_of(trained, training, Engine("cpu", "torch", "fp32"))
    confidence, movement = trained.confidence, trained.recognizer.movement
    assert confidence.threshold is not None and movement is not None
    assert (scores.unknown <= confidence.threshold).mean() >= KEPT
    descriptors = np.stack([training[place].descriptor for place in range(len(training))])
    own = movement(torch.from_numpy(descriptors)).numpy()
    np.testing.assert_allclose(scores.unknown, confidence.unknown(own, descriptors), rtol=1e-6)


def test_with_enough_held_out_clips_the_unknown_score_includes_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recognition.training.calibrating.ENOUGH_HELD_OUT", 4)
    trained = runs.load_run(train(settings_for(tmp_path, holdout=0.3)))
    assert trained.confidence.clips >= 4 and not trained.confidence.of_descriptors


def test_a_score_of_a_classifier_that_is_missing_is_refused(run: Path) -> None:
    content = run_file.load(runs.run_file(run))
    content["model"] = {name: tensor for name, tensor in content["model"].items() if ".movement." not in name}
    damaged = run.parent / "damaged.safetensors"
    run_file.save(damaged, content)
    with pytest.raises(WeightsError, match="of_descriptors is true, but there is no classifier of descriptors"):
        runs.load_run(damaged)


def test_descriptors_cannot_be_kept_in_a_run_without_any(run: Path, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, descriptors=False)
    training = settings.training.model_copy(update={"keep_descriptors": True})
    with pytest.raises(UsageError, match=r"has none \(data\.descriptors is False, joints coco17 in 2D\)"):
        prepare(settings.model_copy(update={"init": str(run), "training": training}))


def test_clips_are_mirrored_unless_left_and_right_are_told_apart(tmp_path: Path) -> None:
    # The left arm and the right one are classes: a mirror image shows the other class.
    told_apart = with_mirroring(prepare(settings_for(tmp_path, flip="auto")))
    assert told_apart.settings.data.flip == 0
    # Now they are one class, which some people do with the left arm and others with the right one.
    either = prepare(settings_for(tmp_path, flip="auto"))
    numbers = np.char.replace(np.array(either.clips.names), "clip", "").astype("U3").astype(int)
    side = (numbers // 3) % 2
    arm = either.clips.labels < 2
    keep = ~arm | (either.clips.labels == side)
    either.clips.labels[arm] = 0
    either = replace(either, training=either.training[keep[either.training]])
    assert with_mirroring(either).settings.data.flip == 0.5
    # An explicit probability stays.
    explicit = prepare(settings_for(tmp_path, flip=0.3))
    assert with_mirroring(explicit) is explicit


def test_a_classifier_that_is_extended_mirrors_as_before(tmp_path: Path) -> None:
    base = train(settings_for(tmp_path, flip="auto"))
    settings = settings_for(tmp_path / "next", flip="auto")
    training = settings.training.model_copy(update={"keep_descriptors": True})
    further = settings.model_copy(update={"init": str(base), "training": training})
    assert with_mirroring(prepare(further)).settings.data.flip == runs.load_run(base).settings.data.flip == 0


def test_a_resumed_run_mirrors_as_it_began(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, flip="auto")
    folder = train(settings, stop_after=1)
    resumed = resumed_train_settings(folder, [], {})
    assert resumed.data.flip == 0
    # With the settings of the run, and with those that it was begun with.
    for again in (resumed, settings):
        train(again, resume=folder)
        finished = runs.load_run(folder)
        movement = finished.recognizer.movement
        assert finished.epoch == 2 and finished.settings.data.flip == 0 and movement is not None
        assert len(movement.centres) == len(fit_movement(prepare(resumed)).centres)


def test_a_run_of_an_earlier_version_goes_on_with_mirror_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It stored "auto", which meant mirror images.
    settings = settings_for(tmp_path, flip="auto")
    with monkeypatch.context() as earlier:
        earlier.setattr("recognition.training.run.with_mirroring", lambda prepared: prepared)
        folder = train(settings, stop_after=1)
    resumed = resumed_train_settings(folder, [], {})
    assert resumed.data.flip == "auto"
    train(resumed, resume=folder)
    finished = runs.load_run(folder)
    movement = finished.recognizer.movement
    assert finished.epoch == 2 and movement is not None
    views = 1 + 1 + 6
    assert len(movement.centres) == views * len(prepare(settings).training)


def test_mirroring_is_decided_for_the_same_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare(settings_for(tmp_path, flip="auto", clips=96))
    monkeypatch.setattr("recognition.training.mirroring.ROWS_OF_CHOICE", 60)
    asked: list[tuple[int, int]] = []

    def likelihood(rows: np.ndarray, *given: Any, judged: np.ndarray, **named: Any) -> float:
        asked.append((len(rows), int(judged.sum())))
        return left_out_likelihood(rows, *given, judged=judged, **named)

    monkeypatch.setattr("recognition.training.mirroring.left_out_likelihood", likelihood)
    with_mirroring(prepared)
    (without, judged), (both, also_judged) = asked
    assert judged == also_judged == without and both == 2 * without <= 60


def test_an_action_per_person_gives_useful_probabilities_and_a_note(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, clips=48)
    by_person = prepare(settings)
    assert note_on_groups(by_person) is None
    by_action = prepare(settings)
    by_action.clips.groups[:] = [f"person{label}" for label in by_action.clips.labels]
    assert "no action occurs in two groups" in str(note_on_groups(by_action))
    apart = left_out_clips(fit_movement(by_action), by_action)
    assert len(np.unique(apart.groups)) == len(by_action.training)
    expected = left_out_clips(fit_movement(by_person), by_person)
    found, wanted = (softmax(each.logits, axis=1).max(axis=1).mean() for each in (apart, expected))
    assert found > 0.9 * wanted > 0.5


@pytest.mark.slow
def test_the_classifier_of_a_finished_run_knows_the_held_out_clips(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, clips=120, holdout=0.4)
    folder = train(settings)
    prepared = prepare(runs.load_run(folder).settings)
    final = fit_movement(prepared)
    first = without_held_out_clips(final, prepared)
    views = len(first.centres) // len(prepared.training)
    assert len(prepared.held_out) and len(final.centres) == len(first.centres) + views * len(prepared.held_out)
    expected = {"best": final, "last": first}
    for which in ("best", "last"):
        # A longer training, which continues from the last weights, chooses its best epoch on the held-out clips.
        trained = runs.load_run(folder, which)
        ridge, movement = expected[which], trained.recognizer.movement
        assert movement is not None and trained.confidence.clips == len(prepared.training) + len(prepared.held_out)
        np.testing.assert_allclose(movement.centres, ridge.centres, rtol=1e-6)
        np.testing.assert_allclose(movement.coefficients, ridge.coefficients, rtol=1e-6)
        # The network has learned nothing, and yet it is never without a say.
        assert len(prepared.held_out) >= FEWEST_CLIPS and movement.network_share == pytest.approx(0.1)
    longer = settings.training.model_copy(update={"phase2_epochs": 2})
    train(settings.model_copy(update={"training": longer}), resume=folder)
    assert runs.load_run(folder, "last").epoch == 3
    movement = runs.load_run(folder).recognizer.movement
    assert movement is not None
    np.testing.assert_allclose(movement.centres, final.centres, rtol=1e-6)


def test_held_out_clips_are_judged_by_a_classifier_that_was_not_fitted_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Room for a part of the clips and a mirror image of each.
    monkeypatch.setattr("recognition.training.fitted_clips.MOST_ROWS", 30)
    prepared = prepare(settings_for(tmp_path, clips=48, holdout=0.4))
    final = fit_movement(prepared)
    apart = without_held_out_clips(final, prepared)
    for name in ("mean", "scale", "weight", "kernel", "width", "penalty", "sharpness"):
        np.testing.assert_array_equal(getattr(apart, name), getattr(final, name))
    clips = ClipTransforms(prepared.clips, prepared.settings.data)
    described = np.stack([clips.descriptor(prepared.clips[int(index)]) for index in range(len(prepared.clips))])
    rows = standardised(described, final.mean, final.scale) * final.weight
    nearest = squared_distances(rows, apart.centres).min(axis=1) < 1e-9
    assert nearest[prepared.training].sum() >= 12 and not nearest[prepared.held_out].any()
    assert (squared_distances(rows[prepared.held_out], final.centres).min(axis=1) < 1e-9).any()
    # It solves the system of its rows.
    own = np.array([np.flatnonzero((final.centres == row).all(axis=1))[0] for row in apart.centres])
    kernel = kernel_of(squared_distances(final.centres, final.centres), final.kernel, final.width)
    system = kernel + final.penalty * np.eye(len(kernel))
    targets = (system @ final.coefficients)[own]
    np.testing.assert_allclose(apart.coefficients, np.linalg.solve(system[np.ix_(own, own)], targets), atol=1e-6)


def test_a_large_held_out_part_does_not_crowd_out_the_training_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recognition.training.fitted_clips.MOST_ROWS", 24)
    prepared = prepare(settings_for(tmp_path, clips=48, holdout=0.75))
    training, held_out = len(prepared.training), len(prepared.held_out)
    assert training < 12 < 24 < held_out
    views = 24 // training
    assert len(without_held_out_clips(fit_movement(prepared), prepared).centres) == views * training
    assert len(fit_movement(prepared).centres) <= 2 * 24


def test_holding_clips_out_costs_the_others_no_random_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Room for two copies of each training clip, but of the held-out clips as well for none.
    monkeypatch.setattr("recognition.training.fitted_clips.MOST_ROWS", 50)
    prepared = prepare(settings_for(tmp_path, clips=40, holdout=0.5))
    clips, training = len(prepared.training) + len(prepared.held_out), len(prepared.training)
    assert 50 // clips - 1 == 0 and 50 // training - 1 > 0
    assert len(fit_movement(prepared).centres) == clips * (50 // training)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_exported_recognizers_give_the_joint_probabilities(run: Path, backend: str) -> None:
    pytest.importorskip(backend)
    trained = runs.load_run(run)
    clips = open_clips(Path(trained.settings.data.file), trained.settings.data)
    data = SkeletonDataset(clips, np.arange(6), trained.settings.data, train=False)
    of_torch = scores_of(trained, data, Engine("cpu", "torch", "fp32"))
    exported = scores_of(trained, data, Engine("cpu", backend, "fp32"))
    np.testing.assert_allclose(exported.probabilities, of_torch.probabilities, atol=2e-3)
    np.testing.assert_allclose(exported.unknown, of_torch.unknown, atol=2e-2)


@pytest.mark.slow
def test_a_stopped_run_resumes_with_the_same_classifier(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    train(settings, stop_after=1)
    before = runs.load_run(tmp_path / "run", "last").recognizer.movement
    train(settings, resume=tmp_path / "run")
    after = runs.load_run(tmp_path / "run", "last").recognizer.movement
    assert before is not None and after is not None
    for name, tensor in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], tensor)


@pytest.mark.slow
def test_another_run_starts_from_the_network_alone(run: Path, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, clips=30).model_copy(update={"init": str(run)})
    movement = runs.load_run(train(settings)).recognizer.movement
    earlier = runs.load_run(run).recognizer.movement
    assert movement is not None and earlier is not None and len(movement.centres) > len(earlier.centres)


def test_joints_that_are_not_coco17_leave_the_network_alone(tmp_path: Path) -> None:
    prepared = prepare(settings_for(tmp_path, model_layout="h36m17"))
    assert prepared.settings.data.descriptors is False and prepared.settings.model.relative is False
    with pytest.raises(UsageError, match=r"data\.descriptors=true requires coco17 in 2D"):
        prepare(settings_for(tmp_path, model_layout="h36m17", descriptors=True))
