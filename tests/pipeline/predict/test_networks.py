"""`skelpipe predict` configures stage one as for the training skeletons of the run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.extract.settings import ExtractSettings
from pipeline.predict.networks import detector_for, stage_one
from pipeline.predict.options import Networks
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.formats.validation import read_data_set
from recognition.data.extraction_settings import extraction_of
from recognition.runs import Trained, load_run
from test_support.networks.made_runs import Run
from test_support.networks.tiny_networks import write_tiny_estimator

pytestmark = pytest.mark.processor


@pytest.fixture
def made(trained: tuple[Path, Path]) -> Trained:
    return load_run(trained[0])


def test_file_records_settings_shared_by_all_clips(run: Callable[..., Run], clips: Path, tmp_path: Path) -> None:
    report = run(clips / "wave", tmp_path / "out", stride=2, detection_threshold=0.25, flip_test=False).report
    annotations = read_data_set(report.data_set)["annotations"]
    found = extraction_of(annotations)
    assert (found["stride"], found["detection_threshold"], found["smooth"]) == (2, 0.25, False)
    assert found["estimator"] == annotations[0]["estimator"] and len(found["detector_weights"]) >= 8
    assert not {"start", "end"} & found.keys()
    parameters = annotations[0]["history"][0]["parameters"]
    other: dict[str, Any] = {
        "history": [{"step": "estimate", "parameters": {**parameters, "stride": 1, "smooth": [1]}}, {}]
    }
    assert extraction_of([*annotations, other]) == {
        name: value for name, value in found.items() if name not in ("stride", "smooth")
    }
    assert extraction_of([*annotations, {"history": "none"}]) == extraction_of([{}]) == {}


@pytest.mark.slow
def test_stage_one_uses_settings_of_the_run(made: Trained, caplog: pytest.LogCaptureFixture) -> None:
    known = {"detector": "rtmdet-nano-rendered", "stride": 2, "smooth": True, "detection_threshold": 0.15}
    drawn = replace(made, estimator="hrnet-tiny", extraction=known)
    settings = stage_one(drawn, Networks(), Engine(device="cpu"))
    assert (settings.estimator, settings.detector) == ("hrnet-tiny", "rtmdet-nano-rendered")
    assert (settings.stride, settings.smooth, settings.score_threshold) == (2, True, 0.15)
    assert not caplog.text
    other = stage_one(drawn, Networks(detector="rtmdet-m"), Engine(device="cpu"))
    # Scores of different detectors are not comparable.
    assert (other.detector, other.stride, other.score_threshold) == ("rtmdet-m", 2, 0.3)
    assert "was trained on persons of rtmdet-nano-rendered, not rtmdet-m" in caplog.text
    silent = replace(drawn, extraction={})
    assert stage_one(silent, Networks(), Engine(device="cpu")) == ExtractSettings(estimator="hrnet-tiny", device="cpu")
    with pytest.raises(UsageError, match=r"was trained on persons of own, which .* --detector own\.onnx, or another"):
        detector_for(replace(made, extraction={"detector": "own"}), None)


def test_another_estimator_gives_a_warning_that_is_true_for_every_run(
    made: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The network of the package was trained on joints of Penn Action, which people have labelled."""
    engine = Engine(device="cpu")
    everyday = load_run("everyday")
    stage_one(everyday, Networks("vitpose"), engine)
    stage_one(replace(everyday, path=tmp_path), Networks("vitpose"), engine)
    several = replace(made, estimator="hrnet-tiny, vitpose-b")
    stage_one(several, Networks("hrnet"), engine)
    assert caplog.messages == [
        "everyday extracts with blazepose, and was measured with it; with vitpose expect lower accuracy",
        f"{tmp_path} extracts with blazepose; with vitpose expect lower accuracy",
        f"{made.path} was trained on skeletons of hrnet-tiny, vitpose-b; with hrnet expect lower accuracy",
    ]
    caplog.clear()
    stage_one(several, Networks("vitpose"), engine)
    stage_one(everyday, Networks("blazepose"), engine)
    assert not caplog.messages


@pytest.fixture
def made_with_files(
    made: Trained, run: Callable[..., Run], clips: Path, tmp_path: Path, networks: tuple[Path, Path]
) -> Trained:
    """A run whose skeletons were extracted with a copy of the tiny networks, in a folder of their own."""
    folder = shutil.copytree(networks[0].parent, tmp_path / "networks")
    estimator, detector = (str(folder / network.name) for network in networks)
    report = run(clips / "wave", tmp_path / "out", estimator=estimator, detector=detector).report
    annotations = read_data_set(report.data_set)["annotations"]
    return replace(made, estimator=annotations[0]["estimator"], extraction=extraction_of(annotations))


@pytest.mark.slow
def test_a_run_uses_the_onnx_files_of_its_skeletons(
    made_with_files: Trained, tmp_path: Path, networks: tuple[Path, Path]
) -> None:
    settings = stage_one(made_with_files, Networks(), Engine(device="cpu"))
    folder = tmp_path / "networks"
    assert (Path(settings.estimator), Path(settings.detector)) == tuple(folder / network.name for network in networks)
    estimator = folder / networks[0].name
    with pytest.raises(
        UsageError, match=rf"persons of the network in .*{networks[1].name}, which does not exist; put "
    ):
        (folder / networks[1].name).rename(folder / "moved.onnx")
        stage_one(made_with_files, Networks(), Engine(device="cpu"))
    shutil.copy(networks[1], folder / networks[1].name)
    write_tiny_estimator(estimator, seed=1)
    with pytest.raises(UsageError, match=rf"has changed since then: .* restore it, or pass --estimator {estimator} to"):
        stage_one(made_with_files, Networks(), Engine(device="cpu"))
    assert stage_one(made_with_files, Networks(str(estimator)), Engine(device="cpu")).estimator == str(estimator)


@pytest.mark.parametrize(
    ("known", "requested", "detector", "threshold"),
    [
        # What a run was trained with stays; BlazePose finds persons itself unless the run combined it with a detector.
        ({"estimator": "blazepose", "detection_threshold": 0.3}, Networks(), "auto", 0.3),
        ({"estimator": "blazepose", "detector": "rtmdet-s", "detection_threshold": 0.2}, Networks(), "rtmdet-s", 0.2),
        ({"estimator": "blazepose"}, Networks(detector="rtmdet-s"), "rtmdet-s", 0.3),
        ({"estimator": "vitpose-b", "detector": "rtmdet-m"}, Networks("blazepose"), "auto", 0.5),
        ({"estimator": "vitpose-b", "detector": "rtmdet-m"}, Networks("blazepose", "rtmdet-s"), "rtmdet-s", 0.3),
        ({"estimator": "blazepose"}, Networks("hrnet"), "auto", 0.3),
        ({"estimator": "openpifpaf-shufflenetv2k16"}, Networks(), "auto", 0.3),
        (
            {"estimator": "hrnet-tiny", "detector": "blazepose-boxes", "detection_threshold": 0.6},
            Networks(),
            "blazepose-boxes",
            0.6,
        ),
    ],
)
def test_blazepose_with_and_without_a_detector(
    made: Trained, known: dict[str, Any], requested: Networks, detector: str, threshold: float
) -> None:
    settings = stage_one(replace(made, estimator=known["estimator"], extraction=known), requested, Engine(device="cpu"))
    assert (settings.detector, settings.score_threshold) == (detector, threshold)


def test_tiles_of_the_training_are_searched_only_if_blazepose_finds_the_persons(made: Trained) -> None:
    run = replace(made, estimator="blazepose", extraction={"estimator": "blazepose", "tiles": "always"})
    assert stage_one(run, Networks(), Engine(device="cpu")).tiles == "always"
    for requested in (Networks("hrnet-tiny"), Networks(detector="rtmdet-nano-rendered")):
        assert stage_one(run, requested, Engine(device="cpu")).tiles == "auto"


def test_options_of_the_search_for_persons_replace_those_of_the_training(made: Trained) -> None:
    known = {"estimator": "blazepose", "tiles": "always", "detection_threshold": 0.6}
    run, engine = replace(made, estimator="blazepose", extraction=known), Engine(device="cpu")
    settings = stage_one(run, Networks(tiles="never", detection_threshold="0.7"), engine)
    assert (settings.tiles, settings.score_threshold) == ("never", 0.7)
    settings = stage_one(run, Networks(tiles="auto", detection_threshold="auto"), engine)
    assert (settings.tiles, settings.score_threshold) == ("auto", 0.5)
    with pytest.raises(UsageError, match=r"^--tiles always: has no effect, because rtmdet finds the persons"):
        stage_one(run, Networks("vitpose", tiles="always"), engine)


@pytest.mark.parametrize("threshold", [None, "0.001"])
def test_predict_finds_persons_above_the_given_score(
    clips: Path, tmp_path: Path, networks: tuple[Path, Path], threshold: str | None
) -> None:
    """A detector whose scores are a twenty-fifth of those of the tiny one, so below its threshold."""
    unsure = onnx.load(networks[1])
    (mass,) = (one for one in unsure.graph.initializer if one.name == "full_mass")
    mass.CopyFrom(onnx.numpy_helper.from_array(np.asarray(100_000, np.float32), "full_mass"))
    onnx.save(unsure, tmp_path / "unsure.onnx")
    shutil.copy(networks[1].with_suffix(".yaml"), tmp_path / "unsure.yaml")
    (video,) = (clips / "run").glob("clip 0*")
    words = ["predict", str(video), "--run", "everyday", "--device", "cpu", "--json", "--estimator", str(networks[0])]
    words += ["--detector", str(tmp_path / "unsure.onnx")]
    words += [] if threshold is None else ["--detection-threshold", threshold]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    # Cleaning removes persons whom the detector is so unsure of.
    assert ("of 20 raw poses" in json.loads(result.stdout)["reason"]) == (threshold is not None)


def test_detector_threshold_defaults_to_that_of_the_model_table() -> None:
    assert ExtractSettings().score_threshold == ExtractSettings(detector="mine.onnx").score_threshold == 0.3
    assert ExtractSettings(detector="rtmdet-nano-rendered").shaping()["detection_threshold"] == 0.4
    assert ExtractSettings(detector="rtmdet-nano-rendered", detection_threshold=0.2).score_threshold == 0.2
    assert ExtractSettings(estimator="blazepose").score_threshold == 0.5


def test_tiles_are_recorded_only_where_blazepose_is_used() -> None:
    # Otherwise results of earlier releases would be extracted again.
    assert "tiles" not in ExtractSettings(tiles="always").shaping()
    assert ExtractSettings(estimator="blazepose", tiles="never").shaping()["tiles"] == "never"
    assert ExtractSettings(detector="blazepose").shaping()["tiles"] == "auto"
