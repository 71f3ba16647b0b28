"""`skelpipe evaluate --protocol`: fused encoders, skipped clips, options, folders, interruptions."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from pipeline.protocols.clips import Asked
from pipeline.protocols.recipe import protocol_settings
from pipeline.protocols.request import ProtocolRequest
from pipeline.protocols.results import SUBSETS, KeptSubsets
from pipeline.protocols.tasks import check_same_clips, classification_tasks
from pipeline.protocols.workflow import run_protocol
from pose_extraction.engines.checkpoints import load_plain
from pose_extraction.errors import UsageError
from pose_extraction.formats.pickles import read_pickle, write_pickle
from recognition.pretraining.encoder import load_pretrained
from recognition.protocols.detector import load_detector
from test_support.doc_pages import page, section, table_names
from test_support.made_encoders import SMALL, pretrain, skelpipe, write_long
from test_support.made_motions import write_motions

pytestmark = [pytest.mark.processor, pytest.mark.slow]

ON = ("--device", "cpu", "--precision", "fp32", "--json")
ONE = {"mamp": ("epochs=1", "warmup_epochs=0"), "pcm3": ("epochs=1", "lr_steps=[]")}
SHORT = ("finetune.epochs=1", "finetune.hidden=8", "finetune.warmup_epochs=0", "finetune.lr_steps=[]")
LONG = ("finetune.batch_size=8", "detection.stride=16", "detection.fewest=1", "motion.seen=12", "motion.predicted=3")
LONG += ("motion.steps=2", "motion.hidden=8", "motion.batch_size=4")


def sets(*words: str) -> list[str]:
    return [word for pair in words for word in ("--set", pair)]


def measured(run: Path, protocol: str, *words: object) -> dict[str, Any]:
    result = skelpipe("evaluate", run, "--protocol", protocol, *words, *ON)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(run: Path, protocol: str, *words: object) -> str:
    result = skelpipe("evaluate", run, "--protocol", protocol, *words, "--device", "cpu")
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.output
    return " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Synthetic motions with the splits of two protocols."""
    path = write_motions(tmp_path_factory.mktemp("data") / "motions.pkl")
    content = read_pickle(path)
    names = [clip["frame_dir"] for clip in content["annotations"]]
    parts = {"xsub_train": names[12:], "xsub_val": names[:12], "xview_train": names[:-15], "xview_val": names[-15:]}
    write_pickle(path, {**content, "split": parts})
    return path


def encoder(method: str, data: Path, out: Path, *words: object) -> Path:
    result = pretrain(method, data, out, *ONE[method], *words)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def mamp(data, tmp_path_factory):
    return encoder("mamp", data, tmp_path_factory.mktemp("mamp") / "run", "--split", "xsub_train")


@pytest.fixture(scope="module")
def streams(data, tmp_path_factory):
    """PCM3's three streams, the last pre-trained for another protocol."""
    folder = tmp_path_factory.mktemp("pcm3")
    splits = {"joint": "xsub_train", "bone": "xsub_train", "motion": "xview_train"}
    return [
        encoder("pcm3", data, folder / stream, f"pcm3.stream={stream}", "--split", split)
        for stream, split in splits.items()
    ]


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return write_long(tmp_path_factory.mktemp("long") / "long.pkl", splits=("train", "test"))


@pytest.fixture
def own(mamp, tmp_path):
    """A copy of the run for a single test."""
    (tmp_path / "own").mkdir()
    shutil.copy(mamp / "best.pt", tmp_path / "own")
    return tmp_path / "own"


def test_fused_encoders_are_evaluated_on_the_first_ones_clips(streams):
    joint, bone, motion = streams
    words = sets("linear.views=1", "linear.epochs=5")
    found = measured(joint, "linear", "--fuse", bone, "--fuse", motion, *words)
    assert (found["split"], found["clips"], len(found["runs"])) == ("xsub_val", 12, 3)
    other = measured(motion, "linear", "--fuse", joint, "--fuse", bone, *words)
    assert (other["split"], other["clips"]) == ("xview_val", 15)
    # The order of the other encoders does not matter.
    again = measured(joint, "linear", "--fuse", motion, "--fuse", bone, *words)
    assert again["top1"] == found["top1"] and again["folder"] != found["folder"]


def test_encoders_of_different_clips_are_not_fused(streams, data):
    loaded = [load_pretrained(run) for run in (streams[0], streams[2])]
    first, second = classification_tasks(loaded, [protocol_settings("pcm3", ())] * 2, Asked(data))
    assert second.test_split == "xsub_val" and np.array_equal(first.training, second.training)
    with pytest.raises(
        UsageError, match=r"does not use the same clips of .*motions.pkl as .*, for example 'clip000_s0_'"
    ):
        check_same_clips(first, replace(second, test=second.test[1:]))
    with pytest.raises(UsageError, match="does not use the same clips"):
        check_same_clips(first, replace(second, training=second.training[::-1]))


def test_each_fused_encoder_uses_its_methods_recipe(mamp, streams):
    found = measured(mamp, "linear", "--fuse", streams[0], *sets("linear.views=1", "linear.epochs=5"))
    (other,) = found["fused_settings"]
    assert (found["settings"]["linear"]["schedule"], other["linear"]["schedule"]) == ("cosine", "step")
    assert found["settings"]["linear"]["epochs"] == other["linear"]["epochs"] == 5
    assert 0 <= measured(mamp, "knn", "--fuse", streams[0])["top1"] <= 1


def test_unknown_protocol_options_are_refused(mamp):
    assert "--batch-size foo: has no effect on protocols" in refused(mamp, "knn", "--batch-size", "foo")
    assert "--backend openvino: protocols run on torch" in refused(mamp, "knn", "--backend", "openvino")
    assert "--no-figures: has no effect with --protocol" in refused(mamp, "knn", "--no-figures")
    for precision in ("foo", "fp16"):
        said = refused(mamp, "knn", "--precision", precision)
        assert f"--precision {precision}: with --protocol, use one of auto, fp32, bf16" in said
    assert "folder not found" in refused(mamp, "knn", "--keypoint-files", "/nonexist")


def test_a_copy_of_the_clips_counts_as_the_same_file(mamp, data, tmp_path):
    shutil.copy(data, tmp_path / "copy.pkl")
    said = refused(mamp, "transfer", "--data", tmp_path / "copy.pkl", "--train-split", "xsub_train")
    assert "that the encoder was not pre-trained on" in said


def test_results_of_different_measurements_have_different_folders(mamp, streams):
    def folder(*words: object) -> str:
        return Path(measured(mamp, "knn", *words)["folder"]).name

    plain = folder()
    assert plain == "motions-knn"
    # An explicit default gives the same measurement.
    assert folder("--split", "xsub_val", "--train-split", "xsub_train", *sets("seed=0")) == plain
    names = [
        folder("--split", "xview_val"),
        folder("--train-split", "xview_train", "--split", "xview_val"),
        folder(*sets("parts=[0.9,1.0]")),
        folder("--scratch"),
        folder("--fuse", streams[0]),
        folder("--fuse", streams[1]),
    ]
    assert len({plain, *names}) == 7
    assert names[0] == "motions-knn-xview_val" and names[3] == "motions-knn-scratch"
    assert names[4].startswith("motions-knn-fused-")
    assert folder(*sets("parts=[0.9,1.0]")) == names[2]


def test_every_field_of_a_result_and_of_a_detector_is_documented(own, streams, long):
    results = [
        measured(own, "semi:50%", *sets("runs=2", *SHORT)),
        measured(own, "knn", "--fuse", streams[0]),
        measured(own, "detection", "--data", long, *sets(*SHORT, *LONG)),
        measured(own, "motion", "--data", long, *sets(*LONG)),
    ]
    for result in results:
        stored = json.loads((Path(result["folder"]) / "evaluation.json").read_text(encoding="utf-8"))
        assert stored == {name: value for name, value in result.items() if name != "folder"}
    told = section(page("file_formats.md"), "Evaluation by a protocol")
    assert {name for result in results for name in result} - {"folder"} == table_names(told, "field of the result")
    detector = load_plain(own / "detector.pt")
    shared = set(detector) - table_names(told, "field of `detector.pt`")
    assert shared == table_names(section(page("file_formats.md"), "Run directory"), "field of a `.pt` file") - {
        *("settings", "label_names", "model", "content_digest", "epoch", "step", "phase", "held_out", "training")
    }


class Halting(Console):
    """A console that simulates Ctrl+C when a given line is printed."""

    def __init__(self, at: str | None = None) -> None:
        super().__init__(quiet=True)
        self.at = at
        self.lines: list[str] = []

    def print(self, *objects: Any, **options: Any) -> None:
        self.lines.append(" ".join(map(str, objects)))
        if self.at is not None and self.at in self.lines[-1]:
            raise KeyboardInterrupt


def test_finished_subsets_of_an_interrupted_measurement_are_kept(own):
    request = ProtocolRequest(protocol="semi:50%", run=own, pairs=("runs=3", *SHORT), device="cpu", precision="fp32")

    def measure(console: Console) -> dict[str, Any]:
        return run_protocol(request, console=console)

    whole = measure(Console(quiet=True))
    assert not (Path(whole["folder"]) / SUBSETS).exists()
    with pytest.raises(KeyboardInterrupt):
        measure(Halting("subset 1"))
    kept = json.loads((Path(whole["folder"]) / SUBSETS).read_text())
    assert list(kept["top1"].values()) == whole["top1_runs"][:2]
    console = Halting()
    assert measure(console) == whole and len(whole["top1_runs"]) == 3
    told = [line for line in console.lines if line.startswith("subset")]
    assert [line.endswith("(kept from an earlier run)") for line in told] == [True, True, False]
    assert not (Path(whole["folder"]) / SUBSETS).exists()


def test_subsets_of_another_measurement_are_not_reused(tmp_path):
    of = {"weights": ["a"], "splits": (None, "test")}
    KeptSubsets(tmp_path, of).keep(3, 0.5)
    assert KeptSubsets(tmp_path, of).get(3) == 0.5 and KeptSubsets(tmp_path, of).get(4) is None
    assert KeptSubsets(tmp_path, {**of, "weights": ["b"]}).get(3) is None
    (tmp_path / SUBSETS).write_text("[")
    assert KeptSubsets(tmp_path, of).get(3) is None


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        ([["jump", 5, 25]], ": the action ['jump', 5, 25] must be [class, first frame, frame after the last]"),
        ([[0, 5]], ": the action [0, 5] must be [class, first frame, frame after the last], three integers"),
        ([[7, 5, 25]], ": the action [7, 5, 25] has class 7, which must be from 0 to 1, the classes of the file's"),
        ([[-2, 5, 25]], ": the action [-2, 5, 25] has class -2, which must be from 0 to 1"),
        (
            [[0, 25, 5]],
            ": the action [0, 25, 5] must be [class, first frame, frame after the last], with frames from 0 to 60",
        ),
        (
            [[0, 5, 61]],
            ": the action [0, 5, 61] must be [class, first frame, frame after the last], with frames from 0 to 60",
        ),
        (5, ': "actions" is 5; it must be a list of'),
    ],
)
def test_invalid_actions_are_refused_or_skipped(own, long, tmp_path, actions, said):
    content = read_pickle(long)
    content["annotations"][3]["actions"] = actions
    write_pickle(tmp_path / "bad.pkl", content)
    words = ("--data", tmp_path / "bad.pkl", *sets(*SHORT, *LONG))
    told = refused(own, "detection", *words)
    assert "bad.pkl: clip 'long3'" + said in told and told.endswith("or skip the clip (--skip-bad)")
    result = skelpipe("evaluate", own, "--protocol", "detection", *words, "--skip-bad", *ON)
    assert result.exit_code == 0, result.output
    assert "1 clips with malformed actions are skipped; the first:" in " ".join(result.stderr.split())


def test_classes_are_taken_from_the_actions_if_a_file_names_none(own, long, tmp_path):
    content = read_pickle(long)
    del content["label_names"]
    for clip in content["annotations"]:
        clip["filename"] = clip.pop("frame_dir")
    write_pickle(tmp_path / "numbers.pkl", content)
    found = measured(own, "detection", "--data", tmp_path / "numbers.pkl", *sets(*SHORT, *LONG))
    assert found["actions"] == 2
    assert load_detector(own / "detector.pt").label_names == ("0", "1", "no action")


@pytest.mark.parametrize("protocol", ["detection", "motion"])
def test_long_sequences_can_be_skipped_and_are_counted(own, long, tmp_path, protocol):
    content = read_pickle(long)
    content["annotations"][3]["keypoint"] = content["annotations"][3]["keypoint"][:, :5]
    write_pickle(tmp_path / "bad.pkl", content)
    words = ("--data", tmp_path / "bad.pkl", *sets(*SHORT, *LONG))
    assert "clip 'long3'" in refused(own, protocol, *words)
    assert measured(own, protocol, *words, "--skip-bad")["clips"] == 2
    every = measured(own, protocol, *words, "--skip-bad", "--split", "all")
    assert (every["split"], every["clips"]) == ("all", 7)


def test_replacing_a_detector_is_reported(own, long):
    words = ("--data", long, *sets(*SHORT, *LONG), *ON)
    first, second = (skelpipe("evaluate", own, "--protocol", "detection", *words) for _ in range(2))
    assert "replacing an earlier detector" not in first.stderr
    assert "replacing an earlier detector" in " ".join(second.stderr.split())


def test_encoders_of_3d_joints_are_measured(tmp_path):
    """Sequences of NTU's joints, in metres, in one file for pre-training and all protocols."""
    rng = np.random.default_rng(0)
    clips = []
    for number in range(12):
        swing = np.sin(np.linspace(0, 9, 30) + rng.uniform(0, 6))[:, None]
        keypoint = np.repeat(rng.normal(size=(1, 1, 25, 3)), 30, axis=1).astype(np.float32)
        keypoint[0, :, 4 + 8 * (number % 2), :] += 0.3 * swing
        clip = {"frame_dir": f"clip{number}", "label": number % 2, "total_frames": 30, "keypoint": keypoint}
        clips.append(clip | {"actions": [[number % 2, 8, 24]]})
    names = [clip["frame_dir"] for clip in clips]
    content = {"split": {"train": names[4:], "test": names[:4]}, "annotations": clips, "label_names": ["one", "other"]}
    file = tmp_path / "ntu.pkl"
    write_pickle(file, content)
    for method in ("mamp", "pcm3"):
        sizes = [word for word in SMALL[method][1:] if not word.startswith(("warmup", "lr_steps"))]
        loop = (
            "num_frames=16",
            "epochs=1",
            "batch_size=4",
            "warmup_epochs=0",
            "lr_steps=[]",
            "--split",
            "train",
            *ON[:4],
        )
        result = skelpipe("pretrain", f"{method}/ntu60_xsub", *sizes, *loop, "--data", file, "--out", tmp_path / method)
        assert result.exit_code == 0, result.output
    found = measured(tmp_path / "mamp", "motion", *sets(*LONG))
    assert found["unit"] == "mm" and 0 < found["MPJPE_of_standing_still"] < 300
    found = measured(tmp_path / "pcm3", "detection", *sets(*SHORT, *LONG))
    assert found["actions"] == 4 and 0 <= found["mAP_a"] <= 1
    words = sets("linear.views=1", "linear.epochs=5")
    found = measured(tmp_path / "mamp", "linear", "--fuse", tmp_path / "pcm3", *words)
    assert found["clips"] == 4 and 0 <= found["top1"] <= 1
