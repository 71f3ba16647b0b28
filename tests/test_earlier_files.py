"""Files of an earlier version are read, predict the same and are resumed; see data/earlier_version/README.md.

Only the command and the documented Python functions are used, so these tests hold for any layout of the code.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline import read_skeletons
from pipeline.cli import app

pytestmark = pytest.mark.slow

EARLIER = Path(__file__).parent / "data" / "earlier_version"
EXPECTED = json.loads((EARLIER / "expected.json").read_text(encoding="utf-8"))
# The same numbers on every processor, up to rounding.
ENGINE = ("--device", "cpu", "--precision", "fp32")
TORCH = (*ENGINE, "--backend", "torch")
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A copy of the files, in which each test may write; the working directory, because their paths are relative."""
    copy = tmp_path / "earlier"
    # Times of modification stay as well.
    shutil.copytree(EARLIER, copy)
    monkeypatch.chdir(copy)
    return copy


def skelpipe(*words: object) -> str:
    """Standard output of a command that succeeds."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_skeleton_file_has_its_clips_labels_and_splits():
    data = read_skeletons("motions.pkl")
    assert data["label_names"] == ["left arm", "right arm", "sway"]
    assert {name: len(clips) for name, clips in data["split"].items()} == {"train": 27, "test": 9}
    assert len(data["annotations"]) == 36
    total = sum(float(clip["keypoint"].sum(dtype=np.float64)) for clip in data["annotations"])
    assert total == pytest.approx(EXPECTED["skeletons"]["keypoint_sum"], rel=1e-9)
    assert [clip["label_name"] for clip in data["annotations"][:4]] == ["left arm", "right arm", "sway", "left arm"]


def test_a_run_predicts_the_same():
    answers = skelpipe("predict", "motions.pkl", "--run", "recognizer", "--json", *TORCH).splitlines()
    found = [json.loads(answer) for answer in answers]
    assert [answer["clip"] for answer in found] == [answer["clip"] for answer in EXPECTED["predict"]]
    for answer, expected in zip(found, EXPECTED["predict"], strict=True):
        assert answer["label"] == expected["label"] and answer["reason"] is None
        probabilities = {best["label"]: best["probability"] for best in answer["predictions"]}
        assert probabilities == pytest.approx(expected["probabilities"], abs=TOLERANCE), answer["clip"]


def test_a_run_is_evaluated_the_same(folder):
    words = ("--split", "train", "--json", "--no-figures", *TORCH)
    found = json.loads(skelpipe("evaluate", "recognizer", "--data", "motions.pkl", *words))
    expected = dict(EXPECTED["evaluate"])
    # The formula of the interval may round differently in the last digit; everything else is equal.
    assert found["top1_interval"] == pytest.approx(expected.pop("top1_interval"), rel=1e-14)
    assert {name: found[name] for name in expected} == expected
    with np.load(folder / "recognizer" / "evaluation" / "motions-train" / "scores.npz") as scores:
        assert len(scores["probabilities"]) == found["clips"]


def test_another_run_begins_with_the_weights_of_a_run():
    check_beginning("recognizer", "small.yaml")


def test_an_interrupted_run_is_resumed_to_its_end(folder):
    run = folder / "interrupted"
    before = lines(run / "metrics.jsonl")
    assert before[-1]["step"] == 23 and before[-1]["epoch"] == 7
    skelpipe("train", "--resume", "interrupted", "--data", "motions.pkl")
    after = lines(run / "metrics.jsonl")
    # What was done is not done again.
    assert after[: len(before)] == before
    assert [line["step"] for line in after if line["kind"] == "step"] == list(range(1, 49))
    # Weights, prototypes, random states and the optimiser's state came back: the next steps' losses are those of a run
    # that the earlier version resumed. Later ones drift apart between processors.
    for line in after:
        if line["kind"] == "step" and str(line["step"]) in EXPECTED["resumed_steps"]:
            expected = EXPECTED["resumed_steps"][str(line["step"])]
            assert {name: line[name] for name in expected} == pytest.approx(expected, rel=1e-2, abs=1e-3), line["step"]
    assert (after[-1]["kind"], after[-1]["epoch"]) == ("epoch", 15)
    # A finished run stays as it is.
    last = (run / "last.safetensors").read_bytes()
    skelpipe("train", "--resume", "interrupted", "--data", "motions.pkl")
    assert (run / "last.safetensors").read_bytes() == last
    answers = skelpipe("predict", "motions.pkl", "--run", "interrupted", "--split", "test", "--json", *TORCH)
    assert len(answers.splitlines()) == 9


@pytest.mark.parametrize("method", ["mamp", "pcm3"])
def test_an_encoder_measures_and_trains_the_same(method):
    words = ("--data", "motions.pkl", "--json", *ENGINE)
    found = json.loads(skelpipe("evaluate", method, "--protocol", "knn", *words))
    assert (found["method"], found["clips"]) == (method, 9)
    # One of nine clips may lie at the border between two neighbours.
    assert found["top1"] == pytest.approx(EXPECTED["knn"][method], abs=0.12)
    short = ("--set", "linear.views=1", "--set", "linear.epochs=2")
    assert 0 <= json.loads(skelpipe("evaluate", method, "--protocol", "linear", *short, *words))["top1"] <= 1
    # Later versions draw dropout and parts of clips differently, with other numbers of random values.
    whole = ("dropout=0", "data.part_range_train=[1,1]")
    check_beginning(method, f"{method}/finetune", "hidden=8" if method == "mamp" else "drop_path=0", *whole)


def check_beginning(name: str, config: str, *words: str) -> None:
    """The first step of a training that starts from a run's weights has the loss that it had."""
    loop = ("phase1_epochs=1", "phase2_epochs=0", "warmup_epochs=0", "batch_size=64", "seed=3", *words)
    skelpipe("train", config, "--data", "motions.pkl", "--init", name, "--out", "tuned", *ENGINE, *loop)
    first = lines(Path("tuned/metrics.jsonl"))[0]
    assert (first["kind"], first["step"]) == ("step", 1)
    assert first["cross_entropy"] == pytest.approx(EXPECTED["first_loss"][name], rel=1e-3)


def test_a_killed_extraction_of_an_earlier_format_is_completed_and_then_nothing_is_done_twice(folder):
    work = folder / "extraction"
    results = work / "results" / "tiny_pose"
    assert (results / "wave" / ".clip_2.pkl.part").is_file()
    networks = ("--estimator", "networks/tiny_pose.onnx", "--detector", "networks/tiny_boxes.onnx")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(work)
        command = ("extract", "videos", *networks, "--out", "results", "--device", "cpu", "--backend", "onnxruntime")
        skelpipe(*command)
        finished = {path: path.stat().st_mtime_ns for path in results.rglob("*.pkl")}
        skelpipe(*command)
    assert {path.relative_to(results).as_posix() for path in finished} == set(EXPECTED_FILES)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    # No half-written file stays.
    assert [path for path in results.rglob("*") if path.suffix == ".part"] == []
    data = read_skeletons(work / "results" / "tiny_pose.pkl")
    assert data["label_names"] == ["run", "wave"]
    assert data["split"] == {"all": [name.removesuffix(".pkl") for name in EXPECTED_FILES]}
    with np.load(EARLIER / "expected_skeletons.npz") as expected:
        for clip in data["annotations"]:
            name = clip["frame_dir"]
            assert clip["keypoint"].shape == expected[f"{name}/keypoint"].shape, name
            # Pixels, and shares of one.
            np.testing.assert_allclose(clip["keypoint"], expected[f"{name}/keypoint"], atol=0.05)
            np.testing.assert_allclose(clip["keypoint_score"], expected[f"{name}/keypoint_score"], atol=2e-3)
            assert np.array_equal(clip["track_id"], expected[f"{name}/track_id"])


EXPECTED_FILES = ("run/clip_0.pkl", "run/clip_1.pkl", "wave/clip_2.pkl", "wave/clip_3.pkl")
