"""docs/file_formats.md documents exactly the fields of the files that are written."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from pipeline.datasets.relabel import relabel
from pipeline.evaluate.workflow import evaluate
from pipeline.inputs.label_table import OPTIONAL, REQUIRED, read_label_table
from pipeline.predict.answers import Answer, as_csv, as_json_lines
from pose_extraction.engines.engine import Engine
from pose_extraction.formats.shards import manifest
from pose_extraction.formats.shards.rows import schema
from pose_extraction.formats.validation import read_data_set
from recognition import runs
from recognition.engine.run_log import read_metrics
from recognition.settings import RunSettings
from synthetic.rendering.clips import Clip, write_clips
from synthetic.rendering.family import family_named
from synthetic.rendering.scene import Scene
from test_support.doc_pages import page, section, table_names
from test_support.networks.made_runs import SIZE, Run
from test_support.networks.trained_run import LABEL_NAMES

PAGE = page("file_formats.md")


def documented(title: str, heading: str = "") -> set[str]:
    return table_names(section(PAGE, title), heading)


def check_arrays(values: dict[str, Any], text: str, sizes: dict[str, int]) -> None:
    """Arrays have the types and shapes of rows such as `| `time` | float64 (T,) |`."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \(([^)]*)\)", text, re.MULTILINE)
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    assert {name for name, _, _ in rows} & set(arrays)
    for name, kind, shape in rows:
        if name in arrays:
            sides = [side.strip() for side in shape.split(",") if side.strip()]
            assert arrays[name].dtype == kind, name
            assert arrays[name].shape == tuple(sizes.get(side) or int(side) for side in sides), name


def test_every_field_of_a_skeleton_file_and_of_its_clips(clips: Path, run: Callable[..., Run], tmp_path: Path) -> None:
    broken = tmp_path / "videos" / "broken.mp4"
    broken.parent.mkdir()
    broken.write_bytes(b"no video")
    (tmp_path / "videos" / "whole.mp4").write_bytes(next((clips / "wave").glob("clip 2*")).read_bytes())
    report = run(tmp_path / "videos", tmp_path / "skeletons").report
    data = read_data_set(report.data_set)
    assert set(data) == documented("Skeleton file", "field")
    (clip,) = data["annotations"]
    # Only clips with labels of persons have this field.
    assert set(clip) | {"person_labels"} == documented("Skeleton file", "field of a clip")
    (tmp_path / "labels.csv").write_text(f"file,label,track\nwhole.mp4,wave,{clip['track_id'][0]}\n", encoding="utf-8")
    relabel(report.data_set, tmp_path / "labels.csv", tmp_path / "labelled.pkl")
    (label,) = read_data_set(tmp_path / "labelled.pkl")["annotations"][0]["person_labels"]
    assert set(label) == documented("Skeleton file", "field of `person_labels`")
    assert (clip["total_frames"], clip["img_shape"]) == (31, SIZE)
    check_arrays(clip, section(PAGE, "Skeleton file"), {"M": len(clip["track_id"]), "T": 31, "V": 17})
    (single,) = (tmp_path / "skeletons" / report.data_set.stem).glob("*.pkl")
    stored = read_data_set(single)
    assert set(stored) - set(data) == documented("File of one video", "field of a video's file")
    assert set(stored["raw"]) == documented("File of one video", "field of `raw`")
    for name, array in stored["raw"].items():
        assert array.dtype.name in section(PAGE, "File of one video"), name
    line = json.loads((single.parent / "errors.jsonl").read_text(encoding="utf-8"))
    assert set(line) == {"file", "cause"} and all(f"`{name}`" in section(PAGE, "Failures") for name in line)


def test_every_column_of_a_label_table(tmp_path: Path) -> None:
    assert documented("Label table") - {"train\\|all"} == {*REQUIRED, *OPTIONAL}
    table = tmp_path / "labels.csv"
    table.write_text("file,label,split\na.mp4,wave,train|all\n", encoding="utf-8")
    assert read_label_table(table).rows[0].splits == ("train", "all")


def test_every_field_of_a_rendered_clip(tmp_path: Path) -> None:
    scene = Scene(family_named("test"), 3, size=(96, 128), frames=2, fps=10.0, action="wave", persons=1)
    data = read_data_set(write_clips([Clip("wave/a", scene)], tmp_path))
    (clip,) = data["annotations"]
    assert set(clip) - documented("Skeleton file", "field of a clip") == documented("Ground truth of rendered clips")
    check_arrays(clip, section(PAGE, "Ground truth of rendered clips"), {"M": len(clip["track_id"]), "T": 2})


def test_every_file_of_a_run_and_what_is_in_it(trained: tuple[Path, Path]) -> None:
    folder = trained[0]
    named = documented("Run directory", "file")
    assert {name.rstrip("/") for name in named} >= {path.name for path in folder.iterdir()}
    assert set(json.loads((folder / "split.json").read_text())) == {"training", "held_out", "left_out"}
    assert yaml.safe_load((folder / "settings.yaml").read_text()).keys() == RunSettings.model_fields.keys()
    about = json.loads((folder / "about.json").read_text())
    of_pretraining = {"method", "dimensions"}
    assert set(about) == documented("Run directory", "field of `about.json`") - of_pretraining
    fields = {name for line in read_metrics(folder) for name in line}
    assert fields - {"kind", "step"} == documented("Run directory", "field of a line")
    content = {name: runs.load(folder / name) for name in ("best.safetensors", "last.safetensors")}
    assert set(content["last.safetensors"]) == documented("Run directory", "field of a file of weights")
    assert set(content["last.safetensors"]) - set(content["best.safetensors"]) == {"training"}
    assert set(content["best.safetensors"]["held_out"]) == {"top1", "mean_class", "loss", "clips"}
    assert set(content["best.safetensors"]["confidence"]) == documented("Run directory", "field of `confidence`")


def test_every_field_of_an_evaluation(trained: tuple[Path, Path]) -> None:
    engine = Engine(device="cpu", backend="torch", precision="fp32")
    result = evaluate(
        trained[0], trained[1], "one_test", engine=engine, figures=False, console=Console(file=io.StringIO())
    )
    assert result.folder.name == f"{trained[1].stem}-one_test" and result.folder.parent.name == "evaluation"
    found = json.loads((result.folder / "evaluation.json").read_text(encoding="utf-8"))
    assert set(found) == documented("Evaluation")
    text = section(PAGE, "Evaluation")
    entries = {name: found[name] for name in ("confused_pairs", "per_class")}
    entries["calibration"] = [found["calibration"], *found["calibration"]["bins"]]
    for name, listed in entries.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        assert all(f"`{key}`" in row for entry in listed for key in entry)
    with np.load(result.folder / "scores.npz") as scores:
        assert all(f"`{name}`" in text for name in scores.files)
        assert scores["probabilities"].shape == (found["clips"], len(LABEL_NAMES))


def test_every_field_of_an_answer() -> None:
    best = tuple((f"action {n}", 0.2) for n in range(5))
    answer = Answer("a", 0, 0.0, 1.0, "action 0", 0.2, 0.8, best, attention={"nose": 1.0}, delay=0.1, run="hf://a/b@c")
    rows = [line.split(" | ") for line in section(PAGE, "Predictions").splitlines() if line.startswith("| `")]
    of_json = {name for row in rows if not row[1].startswith("CSV") for name in table_names_of(row[0])}
    of_csv = {name for row in rows if not row[1].startswith("JSON") for name in table_names_of(row[0])}
    assert set(json.loads(as_json_lines([answer]))) == of_json
    header = next(csv.reader(io.StringIO(as_csv([answer]))))
    # The ranks between the first and the fifth are omitted.
    between = {f"{name}_{rank}" for name in ("label", "probability") for rank in (2, 3, 4)}
    assert set(header) - between == of_csv


def table_names_of(cell: str) -> set[str]:
    return set(cell.replace("| ", "").replace("`", "").replace(" to ", ", ").split(", "))


def test_shards() -> None:
    assert documented("Data set in shards", "column") == set(schema().names)
    files = {manifest.MANIFEST, manifest.LABELS, manifest.SOURCES}
    files |= {f"{folder}/*{manifest.SUFFIX}" for folder in (manifest.CLIPS, manifest.INDEX)}
    assert documented("Data set in shards", "file in the folder") == files
