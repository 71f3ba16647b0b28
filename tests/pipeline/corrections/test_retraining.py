"""Training on corrections: the corrected clip is learned, the other classes are kept, and both runs are compared."""

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from pipeline.corrections import (
    CorrectedVideo,
    Corrections,
    Progress,
    Retraining,
    check_retraining,
    progress_of,
    retrain,
)
from pipeline.corrections.lessons import Lessons, lessons_of
from pipeline.inputs.label_table import read_label_table
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.formats.person_clips import with_person_clips
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.validation import read_data_set
from recognition.inference.prediction import predict_clips
from recognition.inference.skeleton_clips import clips_for
from recognition.packed import EVERYDAY
from recognition.runs import load_run
from recognition.settings import DataSettings, MaskCLRSettings, ModelSettings, RunSettings, TrainingSettings
from recognition.training.run import train
from test_support.networks.trained_run import LABEL_NAMES, made_clip, write_data

pytestmark = pytest.mark.slow

SMALL = {"training.phase1_epochs": 2, "training.phase2_epochs": 0}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with a classifier of descriptors, and its data: 18 clips of three classes, 6 of them held out."""
    folder = tmp_path_factory.mktemp("base")
    rng = np.random.default_rng(0)
    clips = [made_clip(f"clip{n}", LABEL_NAMES[n % 3], rng, fps=10.0) for n in range(24)]
    names = [f"clip{n}" for n in range(24)]
    data = write_data(folder / "made.pkl", clips, {"one_train": names[:18], "val": names[18:]})
    settings = RunSettings(
        out=str(folder / "run"),
        data=DataSettings(
            file=str(data), num_frames="own", max_frames=16, holdout_split="val", random_move=False, descriptors=True
        ),
        model=ModelSettings(dim=16, depth=1, heads=2, dim_representation=16, hidden=32, max_frames=16),
        maskclr=MaskCLRSettings(),
        training=TrainingSettings(
            phase1_epochs=2, phase2_epochs=0, batch_size=6, backbone_lr=3e-3, device="cpu", precision="fp32"
        ),
    )
    return train(settings), data


def video(folder: Path, name: str, *labels: str, seed: int = 9) -> Path:
    """The result of a video at 10 frames per second in which each person, from track 3 on, does something."""
    rng = np.random.default_rng(seed)
    persons = [made_clip(name, label, rng, frames=16, fps=10.0) for label in labels]
    clip = persons[0] | {
        "label": -1,
        "label_name": None,
        "keypoint": np.concatenate([person["keypoint"] for person in persons]),
        "keypoint_score": np.concatenate([person["keypoint_score"] for person in persons]),
        "track_id": np.arange(3, 3 + len(persons)),
    }
    write_pickle(folder / f"{name}.pkl", {"split": {"all": [name]}, "annotations": [clip], "label_names": []})
    return folder / f"{name}.pkl"


def corrections(*lessons: tuple[int, str]) -> Corrections:
    segments = [
        {"id": str(number), "person": person, "start": 0, "end": 1.6, "label": label, "source": "user"}
        for number, (person, label) in enumerate(lessons)
    ]
    return Corrections.model_validate({"segments": segments})


def answers(run: Path, data: Path, wanted: Callable[[str], bool]) -> list[tuple[str, str]]:
    """(label, answer) for the clips of a file whose names are wanted."""
    trained = load_run(run)
    clips = clips_for(trained, data)
    chosen = [index for index, name in enumerate(clips.names) if wanted(name)]
    found = predict_clips(trained, clips, chosen, count=1)
    return [(clips.label_names[clips.labels[index]], one.best[0][0]) for index, one in zip(chosen, found, strict=True)]


def test_a_corrected_person_is_learned_and_both_runs_are_compared(base: tuple[Path, Path], tmp_path: Path) -> None:
    run, _ = base
    # The recognizer sees a squat in person 4; the user calls it a wave.
    request = Retraining(
        str(run),
        tmp_path / "out",
        (CorrectedVideo("new", video(tmp_path, "new", "jump", "squat"), corrections((4, "wave"))),),
        SMALL,
        device="cpu",
    )
    comparison = retrain(request)
    assert comparison.corrections.names == ("corrections/new#4@0-1.6",)
    assert comparison.corrections.old == ("squat",) and comparison.corrections.new == ("wave",)
    assert len(comparison.held_out.names) == 6 and set(comparison.held_out.names) <= {f"clip{n}" for n in range(18, 24)}
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert written == comparison.as_dictionary()
    assert written["clips"] == 6 and written["old"]["top1"] == 1 and written["new"]["top1"] >= 0.5
    assert {"clip": "corrections/new#4@0-1.6", "label": "wave", "old": "squat", "new": "wave"} in written["changed"]
    new = load_run(tmp_path / "out" / "run")
    assert new.label_names == tuple(LABEL_NAMES) and new.settings.init == str(run)
    split = json.loads((tmp_path / "out" / "run" / "split.json").read_text())
    # Nothing that the earlier run was measured on is trained on, and the other person has no label.
    assert {name for name in split["training"] if name.startswith("clip")} == {f"clip{n}" for n in range(18)}
    assert not any("#3" in name for name in split["training"])
    (row,) = read_label_table(tmp_path / "out" / "labels.csv").rows
    assert (str(row.file), row.label_name, row.track, row.group) == ("new", "wave", 4, "new#4")
    shown = progress_of(tmp_path / "out")
    assert (shown.epochs_done, shown.epochs_total, shown.comparison) == (2, 2, written)
    assert [epoch for epoch, _ in (shown.curves or {})["held_out_top1"]] == [1, 2]
    # The network alone, without the classifier of descriptors, is not the recognizer.
    assert "train_top1" not in (shown.curves or {}) and "network alone" in (shown.note or "")
    text = (tmp_path / "out" / "run" / "settings.yaml").read_text()
    (tmp_path / "out" / "run" / "settings.yaml").write_text(text.replace("descriptors: true", "descriptors: false"))
    alone = progress_of(tmp_path / "out")
    assert len((alone.curves or {})["train_top1"]) == 2 and alone.note is None


def test_without_the_earlier_clips_their_classes_are_remembered_and_one_is_added(
    base: tuple[Path, Path], tmp_path: Path
) -> None:
    run, data = base
    alone = copytree(run, tmp_path / "alone")
    (alone / "split.json").unlink()
    old = answers(alone, data, lambda _: True)
    lessons = corrections((3, "bow"), (4, "bow"))
    source = video(tmp_path, "new", "squat", "squat", "jump")
    keypoint = (clip := read_data_set(source))["annotations"][0]["keypoint"]
    # A movement that none of the classes has: the upper body is bent to the side.
    keypoint[:2, :, :5, 0] += 200
    write_pickle(source, clip)
    request = Retraining(str(alone), tmp_path / "out", (CorrectedVideo("new", source, lessons),), SMALL, device="cpu")
    comparison = retrain(request)
    assert comparison.held_out.names == ()
    missing, unmeasured, unknown = comparison.notes
    assert "split.json does not exist" in missing and "no clips are held out" in unmeasured
    # The threshold of the earlier run does not apply with another class.
    assert "reports no action as unknown" in unknown
    assert set(comparison.corrections.old) <= set(LABEL_NAMES) and comparison.corrections.new == ("bow", "bow")
    new = answers(tmp_path / "out" / "run", data, lambda _: True)
    right = [sum(label == answer for label, answer in each) / len(each) for each in (old, new)]
    assert right[0] > 0.9 and right[1] > right[0] - 0.1
    new_run = load_run(tmp_path / "out" / "run")
    assert new_run.label_names == (*LABEL_NAMES, "bow") and new_run.confidence.threshold is None


def test_the_recognizer_of_the_package_learns_a_new_action(tmp_path: Path) -> None:
    source = video(tmp_path, "new", "squat", "squat")
    one = CorrectedVideo("new", source, corrections((3, "stand_still"), (4, "stand_still")))
    settings = {"training.phase1_epochs": 1, "training.phase2_epochs": 0}
    comparison = retrain(Retraining(EVERYDAY, tmp_path / "out", (one,), settings, device="cpu"))
    assert comparison.corrections.new == ("stand_still",) * 2 and "not on this machine" in comparison.notes[0]
    assert "reports no action as unknown" in comparison.notes[-1]
    # In these epochs, the network alone knows nothing of the new class yet, but the recognizer does.
    shown = progress_of(tmp_path / "out")
    assert set(shown.curves or {}) == {"train_loss"} and "network alone" in (shown.note or "")
    old, new = load_run(EVERYDAY), load_run(tmp_path / "out" / "run")
    assert new.label_names == (*old.label_names, "stand_still")
    assert old.recognizer.movement is not None and new.recognizer.movement is not None
    # All descriptors that it knew are still there.
    assert len(new.recognizer.movement.centres) > len(old.recognizer.movement.centres)


def test_whole_videos_are_held_out_once_there_are_enough(tmp_path: Path) -> None:
    videos = []
    for number in range(8):
        lessons = [(3 + person, LABEL_NAMES[person % 3]) for person in range(3)]
        source = video(tmp_path, f"v{number}", "wave", "jump", "squat", seed=number)
        videos.append(CorrectedVideo(f"v{number}", source, corrections(*lessons)))
    split = lessons_of(videos, LABEL_NAMES, tmp_path / "none.pkl", tmp_path / "none").data["split"]
    assert 1 <= len(split["held_out"]) <= 3 and len(split["train"]) + len(split["held_out"]) == 8
    few = lessons_of(videos[:4], LABEL_NAMES, tmp_path / "none.pkl", tmp_path / "none").data["split"]
    assert "held_out" not in few


def trained_on(folder: Path, lessons: Lessons) -> tuple[Path, Path, dict[str, Any]]:
    """Skeleton file and run as a training leaves them, and the clips of the file: persons are cut out."""
    data, run = folder / "first.pkl", folder / "accepted"
    run.mkdir()
    write_pickle(data, lessons.data)
    content, _ = with_person_clips(read_data_set(data), data)
    parts = {"training": content["split"]["train"], "held_out": content["split"].get("held_out", [])}
    (run / "split.json").write_text(json.dumps(parts))
    return data, run, content


def sources_of(names: Collection[str], clips: dict[str, dict[str, Any]]) -> set[str]:
    return {clips[name]["corrected_source"] for name in names if "corrected_source" in clips[name]}


def test_a_second_training_holds_out_nothing_that_the_first_one_learned(
    base: tuple[Path, Path], tmp_path: Path
) -> None:
    run, data = base
    videos = []
    for number in range(14):
        lessons = [(3 + person, LABEL_NAMES[person % 3]) for person in range(3)]
        source = video(tmp_path, f"v{number}", "wave", "jump", "squat", seed=number)
        videos.append(CorrectedVideo(f"v{number}", source, corrections(*lessons), source=f"digest{number}"))
    first, accepted, before = trained_on(tmp_path, lessons_of(videos[:8], LABEL_NAMES, data, run))
    clips = {clip["frame_dir"]: clip for clip in before["annotations"]}
    learned, kept_out = sources_of(before["split"]["train"], clips), sources_of(before["split"]["held_out"], clips)
    assert learned and kept_out and not learned & kept_out

    # The user gave another name to a video, and corrected six more.
    renamed = [replace(one, name=f"again {one.name}") for one in videos[:8]]
    second = lessons_of([*renamed, *videos[8:]], LABEL_NAMES, first, accepted)
    write_pickle(tmp_path / "second.pkl", second.data)
    after, _ = with_person_clips(read_data_set(tmp_path / "second.pkl"), tmp_path / "second.pkl")
    clips = {clip["frame_dir"]: clip for clip in after["annotations"]}
    assert len(clips) == len(after["annotations"])
    train, held_out = sources_of(after["split"]["train"], clips), sources_of(after["split"]["held_out"], clips)
    assert learned <= train and kept_out < held_out and not train & held_out
    assert len(train | held_out) == 14
    # Each corrected segment is there once under its new name, besides the repetitions of this training.
    own = [name for name in clips if name.startswith("corrections/") and not clips[name].get("is_copy")]
    assert len(own) == 14 * 3 and not any(name.startswith("corrections/v0#") for name in own)
    # Other clips stay where the first run had them.
    assert {n for n in after["split"]["held_out"] if n.startswith("clip")} == {f"clip{n}" for n in range(18, 24)}


def test_repetitions_of_an_earlier_training_are_not_repeated_again(base: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = base
    one, other = (
        CorrectedVideo(name, video(tmp_path, name, "wave"), corrections((3, "wave")), source=name) for name in "ab"
    )
    first, accepted, before = trained_on(tmp_path, lessons_of([one], LABEL_NAMES, data, run))
    assert len([name for name in before["split"]["train"] if name.startswith("corrections/a")]) == 5
    split = lessons_of([other], LABEL_NAMES, first, accepted).data["split"]
    assert [name for name in split["train"] if name.startswith("corrections/a")] == ["corrections/a#3@0-1.6"]


def test_two_results_of_one_video_are_on_one_side(tmp_path: Path) -> None:
    videos = []
    for number in range(12):
        lessons = [(3 + person, LABEL_NAMES[person % 3]) for person in range(3)]
        source = video(tmp_path, f"v{number}", "wave", "jump", "squat", seed=number)
        videos.append(CorrectedVideo(f"v{number}", source, corrections(*lessons), source=f"digest{number // 2}"))
    found = lessons_of(videos, LABEL_NAMES, tmp_path / "none.pkl", tmp_path / "none").data
    sides = {name: {clip.rpartition("v")[2].partition("~")[0] for clip in ids} for name, ids in found["split"].items()}
    assert sides["held_out"] and not {int(n) // 2 for n in sides["held_out"]} & {int(n) // 2 for n in sides["train"]}


def test_a_single_lesson_is_enough_to_train_on(tmp_path: Path) -> None:
    one = CorrectedVideo("v", video(tmp_path, "v", "wave"), corrections((3, "wave")))
    found = lessons_of([one], LABEL_NAMES, tmp_path / "none.pkl", tmp_path / "none")
    assert found.data["split"] == {"train": ["corrections/v", "corrections/v~2"]}
    assert found.corrected == {"corrections/v"} and "not on this machine" in found.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"videos": ()}, "there is nothing to learn from"),
        ({"settings": {"data.file": "x.pkl"}}, "'data.file' cannot be set for a retraining"),
        ({"settings": {"training.device": "cuda:7"}}, "'training.device' cannot be set"),
        ({"settings": {"training.epochs": 3}}, "unknown setting 'training.epochs'"),
        ({"settings": {"training.batch_size": 0}}, "training.batch_size: must be at least 1"),
        ({"twice": True}, "two videos are called 'v'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_loaded(
    base: tuple[Path, Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    one = CorrectedVideo("v", tmp_path / "none.pkl", corrections((3, "wave")))
    videos = (one, one) if change.pop("twice", False) else (one,)
    request = Retraining(**{"base": str(base[0]), "out": tmp_path / "out", "videos": videos} | change)
    with pytest.raises(UsageError, match=message):
        check_retraining(request)


def test_a_run_that_does_not_exist_is_told(tmp_path: Path) -> None:
    one = CorrectedVideo("v", tmp_path / "none.pkl", corrections((3, "wave")))
    with pytest.raises(WeightsError, match="no such run"):
        check_retraining(Retraining(str(tmp_path / "none"), tmp_path / "out", (one,)))


def test_a_retraining_that_has_not_begun_has_no_progress(tmp_path: Path) -> None:
    assert progress_of(tmp_path / "none") == Progress()
    assert Progress().as_dictionary() == {
        "epochs_done": 0,
        "epochs_total": None,
        "clips": None,
        "curves": {},
        "curves_note": None,
        "comparison": None,
    }
