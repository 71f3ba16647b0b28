"""`skelpipe evaluate --protocol`: fused encoders, skipped clips, options, folders, interruptions."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from pipeline.protocols.clips import ClipSelection
from pipeline.protocols.recipe import engine_for_protocols, protocol_settings
from pipeline.protocols.request import ProtocolRequest
from pipeline.protocols.results import SUBSETS, KeptSubsets
from pipeline.protocols.tasks import check_same_clips, classification_tasks
from pipeline.protocols.workflow import run_protocol
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.formats.pickle_writing import write_pickle
from recognition import run_file
from recognition.pretraining.encoder import load_pretrained
from test_support.doc_pages import page, section, table_names
from test_support.networks.made_encoders import SMALL, skelpipe
from test_support.networks.protocol_runs import LONG, ON, SHORT, measured, refused, sets

pytestmark = [pytest.mark.processor, pytest.mark.slow]


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
    first, second = classification_tasks(loaded, [protocol_settings("pcm3", ())] * 2, ClipSelection(data))
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
        output = refused(mamp, "knn", "--precision", precision)
        assert f"--precision {precision}: with --protocol, use one of auto, fp32, bf16" in output
    assert "folder not found" in refused(mamp, "knn", "--keypoint-files", "/nonexist")


def test_several_devices_are_refused(monkeypatch):
    several = Engine("cuda:0,1", "torch", "bf16")
    monkeypatch.setattr("pipeline.protocols.recipe.resolve_training_engine", lambda device, precision: several)
    with pytest.raises(UsageError, match="--device cuda:0,1: protocols run on a single device"):
        engine_for_protocols("cuda:0,1", "auto")


def test_a_copy_of_the_clips_counts_as_the_same_file(mamp, data, tmp_path):
    shutil.copy(data, tmp_path / "copy.pkl")
    output = refused(mamp, "transfer", "--data", tmp_path / "copy.pkl", "--train-split", "xsub_train")
    assert "that the encoder was not pre-trained on" in output


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
    report = section(page("file_formats.md"), "Evaluation by a protocol")
    assert {name for result in results for name in result} - {"folder"} == table_names(report, "field of the result")
    detector = run_file.load(own / "detector.safetensors")
    shared = set(detector) - table_names(report, "field of `detector.safetensors`")
    assert shared == table_names(section(page("file_formats.md"), "Run directory"), "field of a file of weights") - {
        *(
            "settings",
            "label_names",
            "model",
            "content_digest",
            "epoch",
            "step",
            "phase",
            "held_out",
            "training",
            "confidence",
        )
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
    report = [line for line in console.lines if line.startswith("subset")]
    assert [line.endswith("(kept from an earlier run)") for line in report] == [True, True, False]
    assert not (Path(whole["folder"]) / SUBSETS).exists()


def test_subsets_of_another_measurement_are_not_reused(tmp_path):
    of = {"weights": ["a"], "splits": (None, "test")}
    KeptSubsets(tmp_path, of).keep(3, 0.5)
    assert KeptSubsets(tmp_path, of).get(3) == 0.5 and KeptSubsets(tmp_path, of).get(4) is None
    assert KeptSubsets(tmp_path, {**of, "weights": ["b"]}).get(3) is None
    (tmp_path / SUBSETS).write_text("[")
    assert KeptSubsets(tmp_path, of).get(3) is None


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
