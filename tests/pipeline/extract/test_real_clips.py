"""Extraction of real clips with real networks, if they are available."""

import pytest

from pipeline import extract_videos
from pose_extraction.formats.pickles import read_pickle

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
