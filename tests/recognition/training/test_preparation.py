"""Resolving open settings from the data, the machine and the initial weights."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from pipeline.train.settings import train_settings
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from recognition.backbones.dstformer import DSTFormer
from recognition.recognizer import build_recognizer
from recognition.settings import ModelSettings, RunSettings
from recognition.training.model_choice import choose_model
from recognition.training.preparation import Prepared, prepare
from test_support.clips.made_clips import annotation, write_clips
from test_support.clips.made_motions import write_motions
from test_support.processes.training_driver import small_settings


@pytest.fixture(scope="module")
def motions(tmp_path_factory):
    return write_motions(tmp_path_factory.mktemp("data") / "motions.pkl", clips=24)


def write_motionbert(path: Path, **sizes: int) -> Path:
    """A file with MotionBERT's names for a network of any size."""
    network = DSTFormer(num_joints=17, channels=3, heads=8, **sizes)
    state = {}
    for name, tensor in network.state_dict().items():
        theirs = name.replace("joint_embedding", "joints_embed").replace("representation.", "pre_logits.fc.")
        theirs = theirs.replace("spatial_embedding", "pos_embed").replace("temporal_embedding", "temp_embed")
        theirs = theirs.replace("fusions.", "ts_attn.")
        for half in ("spatial", "temporal"):
            if f".{half}." in theirs:
                theirs = (
                    theirs.replace(f".{half}.", ".").replace("attention.", "attn.").replace("feed_forward.", "mlp.")
                )
                parts = theirs.replace("streams_", "blocks_").split(".")
                theirs = ".".join([*parts[:2], f"{parts[2]}_{half[0]}", *parts[3:]])
        if name != "mask_token":
            state[f"module.{theirs}"] = tensor
    torch.save({"model_pos": state}, path)
    return path


@pytest.mark.parametrize("size", ["small", "paper"])
def test_explicit_settings_override_the_chosen_size(size):
    cuda = size == "paper"
    plain = choose_model(ModelSettings(size="auto"), None, clips=9000, cuda=cuda)
    given = choose_model(ModelSettings(size="auto", dropout=0.2, depth=4), None, clips=9000, cuda=cuda)
    assert (plain.size, plain.dim) == ((size, None) if cuda else (size, 96))
    assert given == plain.model_copy(update={"dropout": 0.2, "depth": 4})


@pytest.mark.parametrize("backbone", ["dstformer", "transformer", "sttformer"])
def test_every_backbone_can_be_small(backbone):
    model = choose_model(ModelSettings(size="auto", backbone=backbone), None, clips=100, cuda=False)
    recognizer = build_recognizer(model, num_joints=17, channels=3, num_classes=3)
    assert recognizer.backbone.dim_representation == 64 and recognizer.head.fc1.out_features == 256


@pytest.mark.parametrize("size", ["auto", "small", "paper"])
@pytest.mark.parametrize("backbone", [None, *get_args(ModelSettings.model_fields["backbone"].annotation)])
def test_a_resumed_run_has_the_model_that_it_began_with(backbone, size):
    """A run stores the chosen settings, all of them explicit, and chooses again from these when it is resumed."""
    wanted = ModelSettings(size=size) if backbone is None else ModelSettings(size=size, backbone=backbone)
    begun = choose_model(wanted, None, clips=100, cuda=False)
    stored = ModelSettings.model_validate(begun.model_dump())
    assert choose_model(stored, begun, clips=100, cuda=False) == begun


def test_single_word_as_model_is_its_size():
    assert RunSettings.model_validate({"model": "auto"}).model.size == "auto"
    assert RunSettings.model_validate({"model": "small"}).model.size == "small"


def test_sizes_are_read_from_published_files(motions, tmp_path):
    sizes = {"dim": 32, "depth": 3, "mlp_ratio": 4.0, "dim_representation": 24, "max_frames": 30}
    file = write_motionbert(tmp_path / "lite.bin", **sizes)
    words = (f"init={file}", "data.max_frames=16", "model=auto", "hidden=32")
    settings = small_settings(motions, tmp_path / "run", *words)
    prepared = prepare(settings)
    model = prepared.settings.model
    assert {name: getattr(model, name) for name in sizes} == sizes
    assert (model.heads, model.hidden, prepared.layout.name) == (8, 32, "h36m17")


def test_treatment_of_unseen_joints_follows_the_weights(motions, tmp_path):
    sizes = {"dim": 16, "depth": 1, "mlp_ratio": 2.0, "dim_representation": 16, "max_frames": 243}
    file = write_motionbert(tmp_path / "tiny.bin", **sizes)
    for words, expected in (
        ((), "mask_token"),
        (("unseen=embed",), "embed"),
        ((f"init={file}",), "embed"),
        ((f"init={file}", "model=auto"), "embed"),
        ((f"init={file}", "unseen=mask_token"), "mask_token"),
    ):
        assert prepare(small_settings(motions, tmp_path / "run", *words)).settings.model.unseen == expected, words


def with_an_empty_clip(path: Path) -> Path:
    """A data set whose first training clip has scores so low that a threshold removes all its joints."""
    data = read_pickle(write_motions(path, clips=24))
    for clip in data["annotations"]:
        if clip["frame_dir"] == data["split"]["train"][0]:
            clip["keypoint_score"][:] = 0.2
    write_pickle(path, data)
    return path


def test_clips_below_the_threshold_are_named_or_left_out(tmp_path):
    file = with_an_empty_clip(tmp_path / "motions.pkl")
    words = ("score_threshold=0.5", "holdout=0.25")
    with pytest.raises(UsageError, match=r"no joint of clip 'clip006_s2_' has a score above .*=0\.5; lower it"):
        prepare(small_settings(file, tmp_path / "run", *words))
    prepared = prepare(small_settings(file, tmp_path / "run", *words, "skip_bad=true"))
    split = prepared.split()
    assert len(split["training"]) + len(split["held_out"]) == 17 and len(split["left_out"]) == 1
    assert "clip006_s2_" not in split["training"] + split["held_out"]
    assert prepared.notes[0].startswith("left out 1 clip (data.skip_bad); the first: ")


def mistakes(prepared: Prepared) -> list[str]:
    """Notes without those that apply to the synthetic motions: their persons and motions are in both splits."""
    return [
        note
        for note in prepared.notes
        if "clips both for training and in split" not in note and "hardly differ" not in note
    ]


def test_likely_mistakes_are_noted(motions, tmp_path):
    assert mistakes(prepare(small_settings(motions, tmp_path / "run"))) == []
    (note,) = mistakes(prepare(small_settings(motions, tmp_path / "run", "train_split=test", "holdout=0")))
    assert note.startswith("training on split 'test'") and "'train'" in note
    sizes = {"dim": 16, "depth": 1, "mlp_ratio": 2.0, "dim_representation": 16, "max_frames": 243}
    file = write_motionbert(tmp_path / "tiny.bin", **sizes)
    (note,) = mistakes(prepare(small_settings(motions, tmp_path / "run", f"init={file}", "model_layout=coco17")))
    assert "was trained on h36m17" in note


def changed(file: Path, out: Path, label: int, **content: object) -> Path:
    """The synthetic motions without class names, and one clip with another label."""
    data = read_pickle(file)
    del data["label_names"]
    data["annotations"][20]["label"] = label
    write_pickle(out, data | content)
    return out


def test_label_that_implies_empty_classes_is_refused(motions, tmp_path):
    file = changed(motions, tmp_path / "a.pkl", 900)
    with pytest.raises(
        AnnotationError, match=r"'clip020_s0_' with label 900 implies 901 classes, but 897 .*; correct .*label"
    ):
        prepare(small_settings(file, tmp_path / "run"))
    # A subset of a larger data set: its classes have names, or more than half of them have clips.
    for label, content in ((900, {"label_names": [f"{n}" for n in range(1000)]}), (5, {})):
        prepared = prepare(small_settings(changed(motions, tmp_path / "b.pkl", label, **content), tmp_path / "run"))
        note, *_ = mistakes(prepared)
        missing = prepared.num_classes - len(set(prepared.clips.labels[prepared.training]))
        assert note.startswith(f"{missing} of {prepared.num_classes} classes have no training clips")
        assert note.endswith(f"the largest label is {label} (clip 'clip020_s0_')")


def test_subset_of_ntu_keeps_its_classes(tmp_path):
    rng = np.random.default_rng(0)
    clips = [annotation(f"S001C001P001R{r:03d}A{n + 1:03d}", rng, label=n) for n in (3, 57) for r in range(4)]
    settings = small_settings(write_clips(tmp_path / "ntu.pkl", clips), tmp_path / "run")
    assert [note.partition(" and")[0] for note in prepare(settings).notes] == [
        "58 of 60 classes have no training clips"
    ]


def with_splits(motions: Path, out: Path, split: dict[str, slice]) -> Path:
    data = read_pickle(motions)
    names = [clip["frame_dir"] for clip in data["annotations"]]
    write_pickle(out, data | {"split": {name: names[part] for name, part in split.items()}})
    return out


def test_clips_of_two_splits_are_noted(motions, tmp_path):
    file = with_splits(
        motions,
        tmp_path / "a.pkl",
        {"xsub_train": slice(18), "xsub_val": slice(16, 24), "xview_val": slice(24), "test": slice(15, 24)},
    )
    run = tmp_path / "run"
    (note,) = mistakes(prepare(small_settings(file, run, "holdout=0")))
    assert note.startswith(
        "2 clips (the first: 'clip016_s5_') are in both split 'xsub_train' and split 'xsub_val', and used"
    )
    (note,) = mistakes(prepare(small_settings(file, run, "holdout_split=xsub_val")))
    assert note.startswith("2 clips (the first: 'clip016_s5_') are in both") and note.endswith("held out of training")
    chosen_by, both = mistakes(prepare(small_settings(file, run, "holdout_split=test")))
    assert chosen_by.startswith("split 'test' selects the best epoch") and both.startswith(
        "3 clips (the first: 'clip015_s5_')"
    )


def test_paths_in_the_settings_of_a_run_are_absolute(motions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = prepare(small_settings(motions, tmp_path / "run", "keypoint_files=joints")).settings.data
    assert data.keypoint_files == str(tmp_path / "joints") and Path(data.file).is_absolute()


def labelled(file: Path, labels: list[int], splits: dict[str, range], **extra: object) -> Path:
    """Random clips with these labels; `extra` lists a value per clip."""
    rng = np.random.default_rng(0)
    clips = [
        annotation(f"c{number:02d}", rng, label=label, **{name: values[number] for name, values in extra.items()})  # type: ignore[index]
        for number, label in enumerate(labels)
    ]
    names = [clip["frame_dir"] for clip in clips]
    split = {name: [names[number] for number in numbers] for name, numbers in splits.items()}
    return write_clips(file, clips, split, label_names=["wave", "run", "sit"][: max(labels) + 1])


def notes_of(file: Path, *words: str) -> tuple[str, ...]:
    return tuple(prepare(small_settings(file, file.parent / "run", *words)).notes)


def test_one_class_is_noted(tmp_path):
    notes = notes_of(labelled(tmp_path / "a.pkl", [1] * 12, {"train": range(12)}), "holdout=0")
    assert (
        "all 12 training clips are of one class, 'run', so it will be the answer to every clip; add clips of other"
        in (notes[-1])
    )


def test_unlabelled_clips_are_counted(tmp_path):
    file = labelled(tmp_path / "a.pkl", [0, 1, 2, 0, 1, 2, -1, -1], {"train": range(8)})
    assert notes_of(file, "holdout=0") == (
        "not used for training, because without a label: 2 of 8 clips (the first: 'c06'); label them with "
        "`skelpipe label`",
    )


def test_a_class_with_one_clip_trains_and_is_noted(tmp_path):
    file = labelled(tmp_path / "a.pkl", [0, 0, 0, 0, 1, 1, 1, 1, 2], {"train": range(9)})
    (note,) = notes_of(file)
    assert note.startswith("class 'sit' has a single training clip, which is hardly enough")
    # Even if no class has a clip to spare.
    rare, none_held = notes_of(labelled(tmp_path / "b.pkl", [0, 1, 2], {"train": range(3)}), "holdout=0.3")
    assert rare.startswith("3 classes (wave, run, sit) have a single training clip")
    assert none_held.startswith(
        "no clip is held out to choose the best epoch, because a class would lose all its clips"
    )


def test_classes_of_the_test_split_without_training_clips_are_noted(tmp_path):
    file = labelled(tmp_path / "a.pkl", [0, 0, 1, 1, 2], {"train": range(4), "test": range(4, 5)})
    *_, note = notes_of(file, "holdout=0")
    assert note == (
        "class 'sit' has clips in split 'test', but none for training, so these are never recognised (the first: 'c04')"
    )


def test_one_person_on_both_sides_is_noted(tmp_path):
    people = ["anna", "anna", "ben", "ben", "ben", "carl"]
    file = labelled(tmp_path / "a.pkl", [0, 0, 1, 1, 0, 1], {"train": range(4), "test": range(4, 6)}, group=people)
    (note,) = notes_of(file, "holdout=0")
    assert note.startswith("1 group has clips both for training and in split 'test' (the first: 'ben'), so its results")
    # The only other split, whatever its name.
    file = labelled(tmp_path / "b.pkl", [0, 0, 1, 1, 0, 1], {"train": range(4), "rest": range(4, 6)}, group=people)
    (note,) = notes_of(file, "holdout=0")
    assert "both for training and in split 'rest'" in note
    file = labelled(tmp_path / "c.pkl", [0, 0, 1, 1, 0, 1], {"train": range(4), "rest": range(3, 6)})
    (note,) = notes_of(file, "holdout=0")
    assert "is in both split 'train' and split 'rest', and used for training" in note


def test_near_duplicates_across_splits_are_noted(tmp_path):
    file = labelled(tmp_path / "a.pkl", [0, 0, 1, 1, 0, 1], {"train": range(4), "test": range(4, 6)})
    assert notes_of(file, "holdout=0") == ()
    data = read_pickle(file)
    copied, copy = data["annotations"][2], data["annotations"][5]
    # Another place, size and noise, as after encoding the video again.
    noise = np.random.default_rng(1).normal(0, 0.3, copied["keypoint"].shape)
    copy["keypoint"] = (0.8 * copied["keypoint"].astype(float) + 20 + noise).astype(np.float32)
    copy["keypoint_score"] = copied["keypoint_score"]
    write_pickle(file, data)
    (note,) = notes_of(file, "holdout=0")
    assert note.startswith(
        "1 clip of split 'test' hardly differs from a training clip (the first: 'c05' and 'c02'), so"
    )


def test_clips_in_which_nobody_is_seen_are_not_compared(tmp_path, recwarn):
    file = labelled(tmp_path / "a.pkl", [0, 0, 1, 1, 0, 1], {"train": range(4), "test": range(4, 6)})
    data = read_pickle(file)
    for place in (1, 4):
        data["annotations"][place]["keypoint_score"][:, 1:] = 0
    write_pickle(file, data)
    assert notes_of(file, "holdout=0", "skip_bad=true") == ()
    assert [str(warning.message) for warning in recwarn if warning.category is RuntimeWarning] == []


def test_small_networks_start_from_the_base_weights_that_fit_them(motions, tmp_path):

    def init_of(*more: str) -> str | None:
        values = {"data.file": str(motions), "out": str(tmp_path / "run")}
        return prepare(train_settings(["custom", *more], values)).settings.init

    default = init_of()
    assert default is not None and default.endswith("base.safetensors")
    assert init_of("dim=64") is None
    assert init_of("model_layout=h36m17") is None
    assert init_of("init=null") is None
