"""Extraction of real clips with real networks, if they are available."""

import importlib.util

import pytest

from pipeline import extract_videos
from pipeline.extract.pieces import piece_bounds
from pose_extraction.extraction import ExtractionSettings
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.networks.model_zoo import lookup
from pose_extraction.networks.weights import is_here
from pose_extraction.streaming import regions
from pose_extraction.video.reader import frame_times

CLIPS = ("demo_skeleton.mp4", "demo_spatiotemporal_det.mp4", "test_video_structuralize.mp4")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_results_of_real_networks_do_not_depend_on_the_other_clips_of_a_batch(shared_data, tmp_path, backend):
    if backend == "openvino":
        pytest.importorskip("openvino")
    weights, folder = shared_data / "weights", shared_data / "videos" / "clips" / "mmaction2"
    settings = {
        "estimator": str(weights / "simplepose_coco17_256x192.onnx"),
        "detector": str(weights / "yolox_nano.onnx"),
        "device": "cpu",
        "backend": backend,
        "end": 0.2,
        "labels": "none",
    }
    together = extract_videos([folder / clip for clip in CLIPS], tmp_path / "together", workers=3, **settings)
    alone = extract_videos(folder / CLIPS[1], tmp_path / "alone", **settings)
    assert (together.done, alone.done) == (3, 1)
    name = CLIPS[1].replace(".mp4", ".pkl")
    assert (together.folder / name).read_bytes() == (alone.folder / name).read_bytes()
    assert read_pickle(alone.folder / name)["raw"]["keypoint"].shape[0] > 0


def test_a_real_video_in_pieces_gives_the_file_of_one_pass(shared_data, tmp_path):
    video = shared_data / "videos" / "clips" / "mmaction2" / CLIPS[1]
    settings = {
        "estimator": str(shared_data / "weights" / "simplepose_coco17_256x192.onnx"),
        "detector": str(shared_data / "weights" / "yolox_nano.onnx"),
        "device": "cpu",
        "backend": "onnxruntime",
        "end": 2.0,
        "labels": "none",
    }
    times = [time for time in frame_times(video) if time < 2]
    assert len(piece_bounds(times, ExtractionSettings(), 0.5)) >= 3
    whole = extract_videos(video, tmp_path / "whole", **settings)
    pieces = extract_videos(video, tmp_path / "pieces", chunk=0.5, **settings)
    assert whole.data_set.read_bytes() == pieces.data_set.read_bytes()
    assert len(read_pickle(whole.folder / video.with_suffix(".pkl").name)["raw"]["keypoint"]) > 0


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
@pytest.mark.skipif(
    not is_here(lookup("blazepose")),
    reason="BlazePose's networks are not on this machine; run `skelpipe models --download blazepose`",
)
@pytest.mark.parametrize("video", ["real/yoga/bhujangasan/p01_bhujangasan_1.mp4", f"videos/clips/mmaction2/{CLIPS[2]}"])
def test_persons_who_are_followed_from_frame_to_frame_have_the_same_poses_in_pieces(
    shared_data, tmp_path, monkeypatch, video
):
    # So that a short clip has several pieces.
    monkeypatch.setattr(regions, "RESTART_SECONDS", 1.0)
    monkeypatch.setattr(regions, "SETTLING_SECONDS", 0.4)
    times = [time for time in frame_times(shared_data / video) if time < 3]
    assert len(piece_bounds(times, ExtractionSettings(), 0.9, follows=True)) == 3
    settings = {"estimator": "blazepose", "device": "cpu", "end": 3.0, "labels": "none"}
    whole = extract_videos(shared_data / video, tmp_path / "whole", **settings)
    pieces = extract_videos(shared_data / video, tmp_path / "pieces", chunk=0.9, **settings)
    assert whole.data_set.read_bytes() == pieces.data_set.read_bytes()
    found = read_pickle(whole.folder / (shared_data / video).with_suffix(".pkl").name)["raw"]
    assert len(found["keypoint"]) > 0.8 * len(times)
