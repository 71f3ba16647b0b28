"""The code on the pages about adding an estimator and a backbone is executed unchanged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import extract_videos
from pose_extraction.formats.validation import read_data_set
from pose_extraction.networks.model_zoo import lookup
from test_support.doc_pages import ROOT, blocks, page, section
from test_support.networks.tiny_networks import write_tiny_detector
from test_support.networks.trained_run import made_data
from test_support.videos.made_video import write_made_clip

pytestmark = pytest.mark.slow

ESTIMATOR, BACKBONE = page("adding_an_estimator.md"), page("adding_a_backbone.md")


def python(folder: Path, *words: str) -> str:
    """Output of a new interpreter that runs in a folder; it must succeed."""
    answer = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout + answer.stderr


def test_the_exported_estimator_extracts(tmp_path: Path) -> None:
    code, notes, command = blocks(section(ESTIMATOR, "A network in an ONNX file"))
    (tmp_path / "export.py").write_text(code, encoding="utf-8")
    python(tmp_path, "export.py")
    (tmp_path / "small_pose.yaml").write_text(notes, encoding="utf-8")
    assert "--estimator small_pose.onnx" in command and "`skeletons/small_pose.pkl`" in ESTIMATOR
    write_made_clip(tmp_path / "videos" / "a.mp4", size=(96, 128), frames=9)
    report = extract_videos(
        tmp_path / "videos",
        tmp_path / "skeletons",
        estimator=str(tmp_path / "small_pose.onnx"),
        detector=str(write_tiny_detector(tmp_path / "boxes.onnx")),
        device="cpu",
    )
    assert report.data_set == tmp_path / "skeletons" / "small_pose.pkl"
    (clip,) = read_data_set(report.data_set)["annotations"]
    assert clip["estimator"] == "small_pose" and clip["keypoint"].shape == (1, 9, 17, 2)


def test_the_estimator_in_python_writes_a_skeleton_file(tmp_path: Path) -> None:
    (code,) = blocks(section(ESTIMATOR, "Any object, in Python"))
    (tmp_path / "middle.py").write_text(code, encoding="utf-8")
    clip = write_made_clip(tmp_path / "a.mp4", size=(96, 128), frames=9)
    python(tmp_path, "middle.py", str(clip))
    (found,) = read_data_set(tmp_path / "middle.pkl")["annotations"]
    assert found["frame_dir"] == "a" and found["keypoint"].shape == (1, 9, 17, 2)
    assert (found["keypoint"][..., 0] == 64).all()


def test_the_example_entry_has_the_keys_of_existing_networks() -> None:
    (example,) = blocks(section(ESTIMATOR, "A name for published weights"))
    entry = lookup("vitpose-s")
    for key in (line.partition(":")[0] for line in example.splitlines()):
        assert getattr(entry, key) is not None, key


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the packages of the project, which the test changes."""
    for name in ("pose_extraction", "recognition", "pipeline", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def put_after(path: Path, place: str, text: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert content.count(place) == 1, place
    path.write_text(content.replace(place, place + text), encoding="utf-8")


def test_the_backbone_trains_and_is_evaluated(copy: Path) -> None:
    (network,) = blocks(section(BACKBONE, "The network"))
    imported, line = blocks(section(BACKBONE, "The builder"))
    name, commands = blocks(section(BACKBONE, "The name"))
    assert "`recognition/backbones/gated.py`" in BACKBONE
    (copy / "recognition" / "backbones" / "gated.py").write_text(network, encoding="utf-8")
    table = copy / "recognition" / "backbones" / "__init__.py"
    put_after(table, '    "dstformer": _build_dstformer,\n', f"    {line}")
    # In front of the table, which refers to it.
    content = table.read_text(encoding="utf-8")
    table.write_text(content.replace("_BUILDERS: dict[", f"{imported}\n\n_BUILDERS: dict["), encoding="utf-8")
    put_after(copy / "recognition" / "settings.py", "    backbone: Literal[", name.strip())
    made_data(copy / "mine.pkl")
    train, evaluate = commands.splitlines()
    # Unchanged except for the device; in one process, which loads torch only once.
    code = "import sys; from pipeline.cli import app; "
    code += "[app(command.split()[1:], standalone_mode=False) for command in sys.argv[1:]]"
    output = python(copy, "-c", code, f"{train} --device cpu", f"{evaluate} --device cpu --backend torch")
    assert "top-1" in output
    assert "backbone: gated" in (copy / "runs" / "gated" / "settings.yaml").read_text(encoding="utf-8")
