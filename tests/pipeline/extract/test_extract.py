"""Complete extractions: results, resuming, labels, shards, segments and batches."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline import extract_videos, read_skeletons
from pipeline.datasets.merging import merge
from pipeline.datasets.relabel import relabel
from pipeline.extract.workflow import Share
from pose_extraction.engines.devices import cuda_count
from pose_extraction.errors import SkelpipeError, UsageError
from pose_extraction.video.reader import VideoReader
from recognition.data.clips import open_clips
from recognition.data.splits import training_indices
from recognition.settings import DataSettings
from test_support.networks.made_runs import SIZE, all_files, identities
from test_support.networks.tiny_networks import write_tiny_estimator
from test_support.videos.made_container import encode
from test_support.videos.made_video import made_keypoint, write_made_clip


def annotations(data_set: Path) -> dict[str, dict]:
    return {clip["frame_dir"]: clip for clip in read_skeletons(data_set)["annotations"]}


def test_persons_are_found_at_their_positions_and_none_in_empty_clips(run, clips, tmp_path):
    report = run(clips, tmp_path).report
    assert (report.done, report.skipped, report.failed) == (4, 0, {})
    found = annotations(report.data_set)
    assert {name: clip["keypoint"].shape[0] for name, clip in found.items()} == {
        "run/clip 0 ü": 1,
        "run/clip 1 ü": 0,
        "wave/clip 2 ü": 2,
        "wave/clip 3 ü": 3,
    }
    empty = found["run/clip 1 ü"]
    assert empty["keypoint"].shape == (0, 12, 17, 2)
    assert empty["problems"] == ["no person found"]
    pair = found["wave/clip 2 ü"]
    for frame, time in enumerate(pair["time"]):
        truth = made_keypoint(time, SIZE, 2)
        near = np.abs(pair["keypoint"][:, None, frame] - truth[None]).mean((2, 3))
        assert sorted(near.argmin(1)) == [0, 1]
        # A heat-map cell of the tiny network corresponds to eight pixels of the frame.
        assert near.min(1).max() < 8
    assert {clip["label_name"] for clip in found.values()} == {"run", "wave"}


def test_extracted_skeletons_can_be_trained_on_directly(run, clips, tmp_path):
    report = run(clips, tmp_path).report
    settings = DataSettings(skip_bad=True)
    found = open_clips(report.data_set, settings)
    assert training_indices(found, settings).tolist() == [0, 1, 2]
    assert [found.label_names[label] for label in found.labels] == ["run", "wave", "wave"]


def test_a_second_run_extracts_nothing(run, clips, tmp_path):
    run(clips, tmp_path)
    before, bytes_before = identities(tmp_path), all_files(tmp_path)
    again = run(clips, tmp_path)
    assert (again.report.done, again.report.skipped) == (0, 4)
    assert identities(tmp_path) == before
    assert all_files(tmp_path) == bytes_before


@pytest.mark.parametrize("change", ["settings", "weights", "video"])
def test_changed_clips_are_extracted_again_with_a_message(run, clips, tmp_path, change):
    videos = tmp_path / "videos"
    shutil.copytree(clips, videos)
    estimator = write_tiny_estimator(tmp_path / "mine.onnx")
    run(videos, tmp_path / "out", estimator=str(estimator))
    before = identities(tmp_path / "out")
    settings, redone = {}, 4
    if change == "settings":
        settings = {"max_persons": 1}
    elif change == "weights":
        write_tiny_estimator(estimator, seed=1)
    else:
        write_made_clip(videos / "wave" / "clip 3 ü.mp4", size=SIZE, frames=10, persons=3)
        redone = 1
    again = run(videos, tmp_path / "out", estimator=str(estimator), **settings)
    assert (again.report.done, again.report.skipped) == (redone, 4 - redone)
    cause = "the video changed" if change == "video" else "settings or weights changed"
    assert f"extracting {redone} of 4 videos again: {cause}" in again.output
    after = identities(tmp_path / "out")
    assert sum(after[name] != before[name] for name in before) == redone


def test_settings_that_do_not_affect_poses_keep_the_results(run, clips, tmp_path):
    run(clips, tmp_path)
    assert run(clips, tmp_path, workers=3).report.done == 0


def test_new_labels_are_written_without_extracting_again(run, clips, tmp_path):
    run(clips, tmp_path)
    before = annotations(tmp_path / "tiny_pose.pkl")
    rows = [
        f"{clip.relative_to(clips)},{'up' if number % 2 else 'down'},test,g{number}"
        for number, clip in enumerate(sorted(clips.rglob("*.mp4")))
    ]
    table = clips.parent / "labels.csv"
    table.write_text("file,label,split,group\n" + "\n".join(f"{clips.name}/{row}" for row in rows))
    again = run(clips, tmp_path, labels=str(table))
    assert (again.report.done, again.report.skipped) == (0, 4)
    data = read_skeletons(tmp_path / "tiny_pose.pkl")
    assert data["label_names"] == ["down", "up"]
    assert data["split"] == {"test": sorted(before)}
    for name, clip in annotations(tmp_path / "tiny_pose.pkl").items():
        own = read_skeletons(tmp_path / "tiny_pose" / f"{name}.pkl")
        assert own["split"] == {"test": [name]}
        assert (own["annotations"][0]["label_name"], own["annotations"][0]["group"]) == (
            clip["label_name"],
            clip["group"],
        )
        np.testing.assert_array_equal(clip["keypoint"], before[name]["keypoint"])
    assert "updated labels, splits or groups of 4 clips" in again.output
    # And back: the file equals that of a run with only these labels.
    run(clips, tmp_path, labels="none")
    run(clips, tmp_path, labels="auto")
    run(clips, tmp_path / "fresh")
    assert all_files(tmp_path / "fresh" / "tiny_pose") == all_files(tmp_path / "tiny_pose")


@pytest.mark.slow
def test_labels_of_persons_are_found_in_results_and_kept(run, clips, tmp_path):
    run(clips, tmp_path)
    merged = tmp_path / "tiny_pose.pkl"
    name, clip = next(iter(annotations(merged).items()))
    track = int(clip["track_id"][0])
    table = clips.parent / "labels.csv"
    rows = [f"{clips.name}/{clip['source']},hop,0.2,0.6,{track}", f"{clips.name}/{clip['source']},hop,0.2,0.6,99"]
    table.write_text("\n".join(["file,label,start,end,track", *rows]))
    again = run(clips, tmp_path, labels=str(table))
    assert again.report.done == 0 and "updated labels, splits or groups of" in again.output
    assert "label 'hop' of track 99 matches no person: the clip has the tracks" in again.output.replace("\n", " ")

    def labels() -> list[tuple]:
        keys = ("track_id", "track", "start", "end", "label_name")
        return [tuple(one[key] for key in keys) for one in annotations(merged)[name]["person_labels"]]

    wanted = [(track, track, 0.2, 0.6, "hop"), (None, 99, 0.2, 0.6, "hop")]
    assert labels() == wanted and annotations(merged)[name]["label_name"] is None
    # Labels from names keep them, also if the video is extracted again.
    kept = merged.read_bytes()
    run(clips, tmp_path, labels="auto")
    assert merged.read_bytes() == kept
    run(clips, tmp_path, labels="auto", share=Share(overwrite=True))
    assert labels() == wanted
    # A fresh extraction with the table gives the same file, and none removes them.
    fresh = run(clips, tmp_path / "fresh", labels=str(table))
    assert "matches no person" in fresh.output.replace("\n", " ")
    assert (
        annotations(tmp_path / "fresh" / "tiny_pose.pkl")[name]["person_labels"]
        == annotations(merged)[name]["person_labels"]
    )
    run(clips, tmp_path, labels="none")
    assert "person_labels" not in annotations(merged)[name]


@pytest.mark.slow
def test_labels_are_kept_until_a_table_or_none_overrides_them(run, clips, tmp_path):
    def labels() -> dict[str, tuple]:
        data = read_skeletons(tmp_path / "tiny_pose.pkl")
        named = [[name for name, ids in data["split"].items() if c["frame_dir"] in ids] for c in data["annotations"]]
        return {
            c["frame_dir"]: (c["label_name"], c["group"], *s) for c, s in zip(data["annotations"], named, strict=True)
        }

    run(clips, tmp_path)
    guessed = labels()
    # With a single folder, folders are not classes; the ids stay the same.
    pattern = f"{clips}/w*/*.mp4"
    again = run(pattern, tmp_path)
    assert again.report.skipped == 2 and "updated labels" not in again.output
    assert labels() == guessed
    run(pattern, tmp_path, max_persons=1)
    assert labels() == guessed
    table = tmp_path / "labels.csv"
    table.write_text("file,label,split,group\nwave/clip 2 ü.mp4,hello,train,g\nwave/clip 3 ü.mp4,,test,\n")
    relabel(tmp_path / "tiny_pose.pkl", table)
    given = labels()
    assert given["wave/clip 2 ü"] == ("hello", "g", "train") and given["wave/clip 3 ü"] == (
        None,
        None,
        "test",
    )
    run(clips, tmp_path, max_persons=1)
    assert labels() == given
    run(clips, tmp_path)
    assert labels() == given
    erased = run(pattern, tmp_path, labels="none")
    assert "updated labels, splits or groups of 2 clips" in erased.output
    assert labels()["wave/clip 2 ü"] == (None, None, "all") and labels()["run/clip 0 ü"] == given["run/clip 0 ü"]


def test_long_checks_and_merges_are_announced(run, clips, tmp_path, monkeypatch):
    quick = run(clips, tmp_path)
    assert "checked" not in quick.output and "merging" not in quick.output
    monkeypatch.setattr("pipeline.reporting.progress.LINE_INTERVAL", 0)
    monkeypatch.setattr("pipeline.extract.data_set.MERGE_NOTICE", 0)
    slow = run(clips, tmp_path)
    assert "checked 3 of 4 videos" in slow.output and "merging the skeleton files in" in slow.output


def test_a_failure_to_write_labels_is_reported(run, clips, tmp_path):
    clip = clips / "wave" / "clip 3 ü.mp4"
    run(clip, tmp_path)
    (tmp_path / "tiny_pose" / ".clip 3 ü.pkl.part").mkdir()
    table = tmp_path / "t.csv"
    table.write_text(f"file,label\n{clip},hello\n")
    cause = run(clip, tmp_path, labels=str(table)).report.failed["clip 3 ü.mp4"]
    assert "cannot write its labels to" in cause and "check free space" in cause


def test_shards_in_any_order_and_a_merge_give_the_same_bytes_as_one_run(run, clips, tmp_path):
    run(clips, tmp_path / "whole")
    for share in (2, 3, 1):
        report = run(clips, tmp_path / "shared", share=Share(shard=(share, 3))).report
        assert report.data_set is None
    merge([tmp_path / "shared" / "tiny_pose"])
    # Each share has its own list of notes.
    shared, whole = (
        {name: content for name, content in all_files(tmp_path / place).items() if "/notes." not in name}
        for place in ("shared", "whole")
    )
    assert shared == whole


def test_limit_and_overwrite(run, clips, tmp_path):
    assert run(clips, tmp_path, share=Share(limit=2)).report.done == 2
    before = identities(tmp_path)
    assert len(before) == 2
    assert run(clips, tmp_path, share=Share(limit=3)).report.done == 1
    report = run(clips, tmp_path, share=Share(limit=2, overwrite=True)).report
    assert (report.done, report.skipped) == (2, 0)
    after = identities(tmp_path)
    assert all(after[name] != before[name] for name in before)


def test_a_further_run_into_the_same_folder_adds_to_it(run, clips, tmp_path):
    run(clips / "run", tmp_path)
    run(clips / "wave", tmp_path)
    assert set(annotations(tmp_path / "tiny_pose.pkl")) == {"clip 0 ü", "clip 1 ü", "clip 2 ü", "clip 3 ü"}


def test_start_end_and_stride_select_frames_by_timestamps(run, clips, tmp_path):
    clip = clips / "wave" / "clip 2 ü.mp4"
    report = run(clip, tmp_path, start=0.2, end=0.8, stride=4).report
    (cut,) = annotations(report.data_set).values()
    assert cut["frame_index"].tolist() == [5, 9, 13, 17]
    np.testing.assert_allclose(cut["time"], [0.2, 0.36, 0.52, 0.68], atol=1e-3)
    assert cut["keypoint"].shape[1] == cut["total_frames"] == 4


def test_segments_of_a_table_become_clips(run, clips, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(clips / "wave", videos)
    table = videos / "segments.csv"
    table.write_text(
        "file,label,start,end\nclip 2 ü.mp4,a,0,0.4\nclip 2 ü.mp4,b,0.4,0.8\nclip 2 ü.mp4,a,7,8\nclip 3 ü.mp4,c,9,10\n"
    )
    outcome = run(videos, tmp_path / "out", labels=str(table))
    found = annotations(outcome.report.data_set)
    assert {name: clip["frame_index"].tolist() for name, clip in found.items()} == {
        "clip 2 ü_0_0.4": list(range(10)),
        "clip 2 ü_0.4_0.8": list(range(10, 20)),
    }
    assert set(found["clip 2 ü_0_0.4"]["track_id"]) == set(found["clip 2 ü_0.4_0.8"]["track_id"])
    # One segment of the first video, and the only segment of the second, are past the end.
    expected = (
        "clip 2 ü_7_8: no frame from 7 s to 8 s; correct start and end in the table (its other clips are written)"
    )
    assert expected in outcome.report.failed["clip 2 ü.mp4"]
    assert "start 9.0 s is after the last frame" in outcome.report.failed["clip 3 ü.mp4"]
    again = run(videos, tmp_path / "out", labels=str(table)).report
    assert (again.done, again.skipped) == (0, 1) and expected in again.failed["clip 2 ü.mp4"]


def test_start_and_end_apply_to_clips_without_times(run, clips, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(clips / "wave", videos)
    (videos / "t.csv").write_text("file,label,start,end\nclip 2 ü.mp4,a,,0.2\nclip 2 ü.mp4,b,0.8,\n")
    found = annotations(
        run(videos / "clip 2 ü.mp4", tmp_path, labels=str(videos / "t.csv"), start=0.1, end=1).report.data_set
    )
    assert [clip["frame_index"].tolist() for clip in found.values()] == [list(range(20, 25)), [3, 4]]


def test_a_clip_that_ends_before_it_starts_is_reported_and_the_others_continue(run, clips, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(clips / "wave", videos)
    table = videos / "t.csv"
    table.write_text("file,label,start,end\nclip 2 ü.mp4,a,0.8,\nclip 3 ü.mp4,b,0,0.1\n")
    report = run(videos, tmp_path, labels=str(table), end=0.5).report
    (cause,) = report.failed.values()
    assert cause.startswith(str(videos / "clip 2 ü.mp4"))
    assert "start 0.8 s is not before end 0.5 s" in cause and "--end" in cause
    assert list(annotations(report.data_set)) == ["clip 3 ü_0_0.1"]
    # The other segments of the video are written.
    table.write_text("file,label,start,end\nclip 2 ü.mp4,a,0.8,\nclip 2 ü.mp4,b,0,0.1\n")
    noted = run(videos / "clip 2 ü.mp4", tmp_path / "noted", labels=str(table), end=0.5)
    assert "start 0.8 s is not before end 0.5 s" in noted.report.failed["clip 2 ü.mp4"]
    assert list(annotations(noted.report.data_set)) == ["clip 2 ü_0_0.1"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_results_do_not_depend_on_the_other_clips_of_a_batch(run, clips, tmp_path, backend):
    if backend == "openvino":
        pytest.importorskip("openvino")
    # One video has another frame size, and three videos are decoded in parallel.
    videos = tmp_path / "videos"
    shutil.copytree(clips, videos)
    write_made_clip(videos / "wave" / "tall.mp4", size=(160, 90), frames=17, persons=1)
    run(videos, tmp_path / "together", backend=backend, workers=3, labels="none")
    for clip in sorted(videos.rglob("*.mp4")):
        folder = tmp_path / "alone" / clip.parent.name
        run(clip, folder, backend=backend, labels="none", batch_size=8)
        alone = read_skeletons(folder / "tiny_pose" / f"{clip.stem}.pkl")
        among = read_skeletons(tmp_path / "together" / "tiny_pose" / clip.parent.name / f"{clip.stem}.pkl")
        for name, array in alone["raw"].items():
            assert array.tobytes() == among["raw"][name].tobytes(), name
        assert alone["annotations"][0]["keypoint"].tobytes() == among["annotations"][0]["keypoint"].tobytes()


def test_an_overlay_is_next_to_its_skeletons_and_is_drawn_again_if_missing(run, clips, tmp_path):
    clip = clips / "wave" / "clip 3 ü.mp4"
    run(clip, tmp_path, overlay=True)
    overlay = tmp_path / "tiny_pose" / "clip 3 ü.mp4"
    drawn = overlay.read_bytes()
    assert run(clip, tmp_path, overlay=True).report.skipped == 1
    overlay.unlink()
    again = run(clip, tmp_path, overlay=True)
    assert "extracting 1 of 1 video again: the overlay is missing" in again.output
    assert overlay.read_bytes() == drawn


def test_an_overlay_of_other_settings_is_removed(run, clips, tmp_path):
    clip = clips / "wave" / "clip 3 ü.mp4"
    run(clip, tmp_path / "out", overlay=True)
    run(clip, tmp_path / "out", max_persons=1)
    again = run(clip, tmp_path / "out", max_persons=1, overlay=True)
    assert "the overlay is missing" in again.output
    run(clip, tmp_path / "fresh", max_persons=1, overlay=True)
    assert all_files(tmp_path / "out") == all_files(tmp_path / "fresh")


def test_another_video_with_the_same_id_does_not_replace_the_first(run, tmp_path):
    for place, frames in (("a", 9), ("b", 10)):
        write_made_clip(tmp_path / place / "1.mp4", size=SIZE, frames=frames)
    write_made_clip(tmp_path / "b" / "2.mp4", size=SIZE, frames=9)
    out = tmp_path / "out"
    run(tmp_path / "a", out)
    second = run(tmp_path / "b", out)
    cause = second.report.failed["1.mp4"]
    assert str(tmp_path / "a" / "1.mp4") in cause and str(tmp_path / "b" / "1.mp4") in cause and "--out" in cause
    assert second.report.done == 1
    assert {name: clip["total_frames"] for name, clip in annotations(out / "tiny_pose.pkl").items()} == {"1": 9, "2": 9}
    assert run(tmp_path / "b", out, share=Share(overwrite=True)).report.failed == {}
    assert annotations(out / "tiny_pose.pkl")["1"]["total_frames"] == 10
    # Moved, with other content: the same video, changed.
    (tmp_path / "b").rename(tmp_path / "c")
    write_made_clip(tmp_path / "c" / "1.mp4", size=SIZE, frames=11)
    assert run(tmp_path / "c", out).report.done == 1
    # The same content at two paths is the same video.
    shutil.copytree(tmp_path / "c", tmp_path / "d")
    assert run(tmp_path / "d", out).report.skipped == 2


def test_poses_are_kept_if_the_overlay_cannot_be_written(run, clips, tmp_path):
    clip = clips / "wave" / "clip 3 ü.mp4"
    (tmp_path / "tiny_pose" / ".clip 3 ü.mp4.part").mkdir(parents=True)
    outcome = run(clip, tmp_path, overlay=True)
    assert "the skeletons are written, but not the overlay" in outcome.report.failed["clip 3 ü.mp4"]
    assert annotations(outcome.report.data_set)["clip 3 ü"]["keypoint"].shape[0] == 3


def test_three_lines_of_python(networks, clips, tmp_path):
    estimator, detector = networks
    report = extract_videos(clips, tmp_path, estimator=str(estimator), detector=str(detector), device="cpu")
    assert len(read_skeletons(report.data_set)["annotations"]) == 4
    with pytest.raises(UsageError, match=r"detect_evry.*did you mean 'detect_every'"):
        extract_videos(clips, tmp_path, detect_evry=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cpu,cuda:0"}, "of the same kind"),
        ({"device": "auto,cpu"}, "of the same kind"),
        ({"device": "cpu,"}, "give auto, cpu"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        pytest.param(
            {"decoder": "cuda"},
            "--decoder cuda: this machine has no CUDA device; use --decoder cpu",
            marks=pytest.mark.skipif(cuda_count() > 0, reason="there is a GPU"),
        ),
    ],
)
def test_invalid_devices_are_refused(run, clips, tmp_path, settings, message):
    with pytest.raises(SkelpipeError, match=message):
        run(clips, tmp_path, **settings)


def test_a_read_only_folder_is_refused_before_the_work(run, clips, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SkelpipeError, match=r"cannot create .*choose another one with --out"):
        run(clips, tmp_path / "file")


def test_notes_of_one_kind_are_printed_once_and_listed_for_each_video(run, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a", "b"):
        encode(videos / f"{name}.h264", rate=20, size=SIZE)
    outcome = run(videos, tmp_path / "out", labels="none")
    line = "2 videos: a raw stream without time stamps; read at the frame rate of its header, --fps sets another rate"
    assert outcome.output.count("a raw stream") == 1 and line in outcome.output
    notes = tmp_path / "out" / "tiny_pose" / "notes.jsonl"
    found = [json.loads(text) for text in notes.read_text().splitlines()]
    assert [entry["file"] for entry in found] == ["a.h264", "b.h264"]
    assert "read at the 20 frames/s of its header" in found[0]["notes"][0]
    clip = annotations(outcome.report.data_set)["a"]
    assert clip["fps"] == 20 and clip["time"][-1] == pytest.approx(11 / 20)
    assert found[0]["notes"] == clip["problems"]
    # A run that extracts nothing keeps the list, and one with other settings replaces it.
    run(videos, tmp_path / "out", labels="none")
    assert [json.loads(text) for text in notes.read_text().splitlines()] == found
    slow = annotations(run(videos, tmp_path / "out", labels="none", fps=10.0).report.data_set)["a"]
    assert slow["fps"] == 10 and slow["time"][-1] == pytest.approx(1.1)
    assert "raw stream" not in (notes.read_text() if notes.exists() else "")


def test_an_overlay_has_the_display_size(run, tmp_path):
    def stretch(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)

    video = encode(tmp_path / "wide.mp4", size=SIZE, setup=stretch)
    data = run(video, tmp_path / "out", labels="none", overlay=True).report.data_set
    size = (SIZE[0], round(SIZE[1] * 1.5))
    assert annotations(data)["wide"]["img_shape"] == size
    with VideoReader(tmp_path / "out" / "tiny_pose" / "wide.mp4") as reader:
        assert reader.info.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
