"""`skelpipe export-model`: the folder, its program, and predictions from it without torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.export_model.workflow import export_run
from pipeline.serve.catalogue import check_runs
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.networks.openmmlab import mmlab_packages
from recognition.inference.exported_run import load_exported
from synthetic.rendering.clips import Clip, write_clips
from synthetic.rendering.family import TEST
from synthetic.rendering.scene import Scene
from test_support.networks.exportable_runs import made_clips
from test_support.networks.tiny_networks import write_tiny_networks
from test_support.videos.made_video import write_made_clip
from test_support.without_torch import ABSENT

pytestmark = pytest.mark.slow


def skelpipe(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recognizer of the package, exported as ONNX."""
    out = tmp_path_factory.mktemp("exported") / "everyday"
    result = skelpipe("export-model", "everyday", "--out", out)
    assert result.exit_code == 0, result.output
    return out


def made_annotations() -> list[dict[str, Any]]:
    """Return clips of one to five persons at several frame rates, as in a skeleton file."""
    annotations = []
    for number, clip in enumerate(made_clips(9)):
        annotation = {
            "frame_dir": f"clip{number}",
            "label": -1,
            "total_frames": clip.num_frames,
            "img_shape": clip.size,
            "original_shape": clip.size,
            "keypoint": np.nan_to_num(clip.keypoint),
            "keypoint_score": clip.score,
            "time": clip.seconds,
        }
        if clip.tracked:
            annotation["track_id"] = np.arange(len(clip.score))
        annotations.append(annotation)
    return annotations


@pytest.fixture(scope="module")
def skeletons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("skeletons") / "made.pkl"
    write_pickle(path, {"split": {}, "annotations": made_annotations()})
    return path


def without_torch(*words: object) -> str:
    code = f"{ABSENT}\nsys.argv = {['skelpipe', *map(str, words)]!r}\nfrom pipeline.cli import main\nmain()"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout


OPTIONS = ((), ("--per-person",), ("--windows", "1"), ("--windows", "1", "--together"))
ALL = f"""{ABSENT}
import json
from pipeline.cli import app
for words in json.loads(sys.argv[1]):
    app(words, standalone_mode=False)
    print(flush=True)
"""


@pytest.fixture(scope="module")
def predicted_without_torch(exported: Path, skeletons: Path) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Predictions of the exported recognizer for each of `OPTIONS`, from one process that cannot import torch."""
    commands = [["predict", str(skeletons), "--run", str(exported), "--json", *options] for options in OPTIONS]
    found = subprocess.run([sys.executable, "-c", ALL, json.dumps(commands)], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    outputs = found.stdout.split("\n\n")[: len(OPTIONS)]
    return {
        options: [json.loads(line) for line in output.splitlines()]
        for options, output in zip(OPTIONS, outputs, strict=True)
    }


def test_folder_has_everything_to_run_it(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "README.md", "example.npz", "labels.json", "model.onnx", "run.py",
    }  # fmt: skip
    labels = json.loads((exported / "labels.json").read_text())
    assert labels["labels"][0] == "baseball_pitch" and labels["unknown_threshold"] > 0
    assert {one["name"] for one in labels["inputs"]} >= {"keypoint", "score", "frames", "size", "time"}


def test_card_is_that_of_the_run_with_a_section_on_the_network(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    before, found, after = card.partition("\n## Exported network\n")
    section, _, rest = after.partition("\n## ")
    reference = skelpipe("card", "everyday").stdout
    assert found and f"{before}\n## {rest}" == reference.replace("--run everyday", "--run FOLDER") != reference
    assert card.count("--run FOLDER") == 1
    labels = json.loads((exported / "labels.json").read_text())
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:2] == "| "]
    described = {name.strip("`"): rest for name, *rest in rows}
    for one in (*labels["inputs"], *labels["outputs"]):
        assert described[one["name"]][:2] == [one["type"], f"({', '.join(map(str, one['shape']))})"]
    size = (exported / "model.onnx").stat().st_size / 2**20
    assert described["model.onnx"] == [f"network, ONNX, {size:.1f} MiB"]
    assert f"above {labels['unknown_threshold']:.4g} the action is reported as unknown" in described["unknown"][2]


def test_program_needs_no_torch_and_none_of_our_code(exported: Path, tmp_path: Path) -> None:
    program = exported / "run.py"
    assert len(program.read_text().splitlines()) <= 40
    code = f"{ABSENT}\nimport runpy\nsys.argv = ['run.py']\nrunpy.run_path({str(program)!r}, run_name='__main__')"
    found = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    _, *rows = found.stdout.splitlines()
    names = json.loads((exported / "labels.json").read_text())["labels"]
    expected = dict(zip(names, np.load(exported / "example.npz")["probabilities"], strict=True))
    for row in rows:
        probability, name = row.split(maxsplit=1)
        assert float(probability) == pytest.approx(expected[name], abs=1e-4)


@pytest.mark.parametrize(("kind", "limit"), [("openvino", 1e-3), ("torch", 1e-4)])
def test_other_formats_come_with_a_program_of_their_own(kind: str, limit: float, tmp_path: Path) -> None:
    out = export_run(Path("everyday"), kind, tmp_path / kind)
    program = out / "run.py"
    assert len(program.read_text().splitlines()) <= 40
    found = subprocess.run([sys.executable, "-I", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    probabilities = sorted((float(row.split()[0]) for row in found.stdout.splitlines()[1:]), reverse=True)
    expected = np.sort(np.load(out / "example.npz")["probabilities"])[::-1]
    np.testing.assert_allclose(probabilities, expected, atol=limit)


def test_weights_in_8_bits_are_written_only_if_the_accuracy_stays(
    exported: Path, skeletons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Labelled with the actions that the run predicts, so that all are correct before.
    result = skelpipe("predict", skeletons, "--run", "everyday", "--threshold", "0", "--json")
    answers = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    labels = {one["clip"]: one["label"] for one in answers if one["reason"] is None}
    names = json.loads((exported / "labels.json").read_text())["labels"]
    clips = [clip for clip in made_annotations() if clip["frame_dir"] in labels]
    labelled = [clip | {"label": names.index(labels[clip["frame_dir"]])} for clip in clips]
    write_pickle(tmp_path / "labelled.pkl", {"split": {}, "annotations": labelled, "label_names": names})
    monkeypatch.setattr("pipeline.export_model.quantising.MOST_LOST", 1.0)
    out = export_run(Path("everyday"), "onnx", tmp_path / "int8", int8=tmp_path / "labelled.pkl")
    assert (out / "model.onnx").read_bytes() != (exported / "model.onnx").read_bytes()
    assert f"{len(labelled)} with those of the run" in (out / "README.md").read_text()
    monkeypatch.setattr("pipeline.export_model.quantising.MOST_LOST", -1.0)
    with pytest.raises(UsageError, match="would lose more than"):
        export_run(Path("everyday"), "onnx", tmp_path / "refused", int8=tmp_path / "labelled.pkl")
    assert not list(tmp_path.glob("*refused*"))


@pytest.mark.parametrize("options", OPTIONS)
def test_predictions_without_torch_are_those_of_the_run(
    skeletons: Path, predicted_without_torch: dict[tuple[str, ...], list[dict[str, Any]]], options: tuple[str, ...]
) -> None:
    reference = skelpipe("predict", skeletons, "--run", "everyday", "--device", "cpu", "--precision", "fp32", "--json",
                         "--backend", "torch", *options)  # fmt: skip
    assert reference.exit_code == 0, reference.output
    expected = [json.loads(line) for line in reference.stdout.splitlines() if line.startswith("{")]
    found = predicted_without_torch[options]
    assert len(found) == len(expected) > 5
    for one, other in zip(found, expected, strict=True):
        for key in ("clip", "person", "start", "end", "label", "reason"):
            assert one[key] == other[key], (key, one, other)
        if one["reason"] is None:
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
            assert one["unknown_score"] == pytest.approx(other["unknown_score"], abs=1e-3)


def test_a_video_is_predicted_without_torch(exported: Path, tmp_path: Path) -> None:
    """The whole chain of a machine without torch: networks in ONNX files, and an exported recognizer."""
    write_tiny_networks(tmp_path)
    estimator, detector = (next(tmp_path.glob(f"tiny_{kind}*.onnx")) for kind in ("pose", "boxes"))
    video = write_made_clip(tmp_path / "clip.mp4", size=(120, 160), frames=40, persons=1)
    networks = ("--estimator", estimator, "--detector", detector, "--device", "cpu", "--backend", "onnxruntime",
                "--threshold", "0", "--json")  # fmt: skip
    reference = skelpipe("predict", video, "--run", "everyday", "--precision", "fp32", *networks)
    assert reference.exit_code == 0, reference.output
    (expected,) = (json.loads(line) for line in reference.stdout.splitlines() if line.startswith("{"))
    (found,) = map(json.loads, without_torch("predict", video, "--run", exported, *networks).splitlines())
    assert expected["reason"] is None
    assert (found["clip"], found["label"]) == (expected["clip"], expected["label"])
    assert found["probability"] == pytest.approx(expected["probability"], abs=1e-4)


def test_explanations_are_refused(exported: Path, skeletons: Path) -> None:
    result = skelpipe("predict", skeletons, "--run", exported, "--explain")
    assert result.exit_code == 2 and "exported recognizer" in result.output


def test_damaged_folder_is_reported(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "labels.json").write_text('{"skelpipe_export": 99}')
    with pytest.raises(WeightsError, match="export the recognizer again"):
        load_exported(tmp_path)


def test_missing_network_is_reported(exported: Path, tmp_path: Path) -> None:
    labels = json.loads((exported / "labels.json").read_text())
    (tmp_path / "labels.json").write_text(json.dumps(labels | {"format": "openvino"}))
    # A network of another format does not count.
    shutil.copy(exported / "model.onnx", tmp_path)
    with pytest.raises(WeightsError, match=r"model\.xml: does not exist.*export the recognizer again"):
        check_runs([str(tmp_path)])


def test_damaged_network_is_reported(exported: Path, skeletons: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "damaged")
    with (tmp_path / "damaged" / "model.onnx").open("r+b") as file:
        file.truncate(100_000)
    result = skelpipe("predict", skeletons, "--run", tmp_path / "damaged", "--backend", "onnxruntime")
    assert result.exit_code == 1 and "export the recognizer again" in " ".join(result.output.split()), result.output


@pytest.mark.parametrize(
    "words",
    [("evaluate",), ("robustness",), ("card",), ("export-model",), ("train", "--init")],
)
def test_commands_that_need_the_run_say_so(words: tuple[str, ...], exported: Path, skeletons: Path) -> None:
    data = () if words[0] in ("card", "export-model") else ("--data", skeletons)
    result = skelpipe(*words, exported, *data)
    output = " ".join(result.output.split())
    assert result.exit_code == 1 and "which only `skelpipe predict` and `skelpipe serve` use" in output, output
    result = skelpipe("predict", skeletons, "--run", exported / "model.onnx")
    assert result.exit_code == 1 and f"pass the folder {exported}" in " ".join(result.output.split())


def test_nothing_is_left_of_an_export_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.export_model.workflow.TOLERANCE", {"torch": -1.0})
    with pytest.raises(WeightsError, match="differs from the run"):
        export_run(Path("everyday"), "torch", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_existing_folder_and_unknown_names_are_refused(exported: Path) -> None:
    with pytest.raises(UsageError, match="already exists"):
        export_run(Path("everyday"), "onnx", exported)
    result = skelpipe("export-model", "nothing")
    assert result.exit_code == 2 and "neither a run nor a network" in result.output
    result = skelpipe("export-model", "everyda")
    assert result.exit_code == 2 and "did you mean everyday, a recognizer of the package?" in result.output
    # Initial weights cannot be exported.
    result = skelpipe("export-model", "bas")
    assert result.exit_code == 2 and "neither a run nor a network; pass a directory" in " ".join(result.output.split())
    result = skelpipe("export-model", "everyday", "--format", "tflite")
    assert result.exit_code == 2 and "must be one of onnx, openvino, torch" in result.output


def test_only_recognizers_are_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "best.safetensors").touch()
    for name in ("mien", "runs/mien"):
        assert "did you mean runs/mine?" in skelpipe("export-model", name).output
    (run / "about.json").write_text('{"method": "mamp"}')
    assert "did you mean" not in skelpipe("export-model", "mien").output


@pytest.mark.skipif(bool(mmlab_packages.missing_packages()), reason="mmdet is not installed")
def test_a_video_is_predicted_with_an_exported_detector_and_without_torch(exported: Path, tmp_path: Path) -> None:
    for name in ("rtmdet-nano-rendered", "hrnet-tiny"):
        result = skelpipe("export-model", name, "--out", tmp_path / f"{name}.onnx")
        assert result.exit_code == 0, result.output
    write_clips([Clip("clip", Scene(TEST, 1, size=(240, 320), frames=30, fps=15.0, persons=1))], tmp_path)
    (video,) = tmp_path.glob("clip.*")
    options = ("--device", "cpu", "--precision", "fp32", "--threshold", "0", "--json")
    networks = ("--estimator", "hrnet-tiny", "--detector", "rtmdet-nano-rendered")
    reference = skelpipe("predict", video, "--run", "everyday", *networks, *options)
    assert reference.exit_code == 0, reference.output
    (expected,) = (json.loads(line) for line in reference.stdout.splitlines() if line.startswith("{"))
    networks = ("--estimator", f"{tmp_path}/hrnet-tiny.onnx", "--detector", f"{tmp_path}/rtmdet-nano-rendered.onnx")
    (found,) = map(json.loads, without_torch("predict", video, "--run", exported, *networks, *options).splitlines())
    assert expected["reason"] is None
    assert (found["clip"], found["label"]) == (expected["clip"], expected["label"])
    assert found["probability"] == pytest.approx(expected["probability"], abs=1e-2)


def test_faster_rcnn_is_refused_with_an_alternative(tmp_path: Path) -> None:
    result = skelpipe("export-model", "faster-rcnn", "--weights", "seed:0", "--out", tmp_path / "rcnn.onnx")
    assert result.exit_code == 2 and "--detector yolox-tiny" in " ".join(result.output.split())
