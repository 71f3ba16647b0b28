"""`skelpipe predict` on skeleton files, with a run that is trained for a few seconds."""

import copy
import csv
import io
import itertools
import json
import logging
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import skelpipe
from pipeline.cli import app
from pipeline.predict.answers import Answer
from pipeline.predict.options import PredictOptions, Scope, SkeletonFileOptions, Threshold, scope_of
from pipeline.predict.output.printing import print_table
from pipeline.predict.persons import video_of
from pipeline.predict.skeleton_files import predictor_for
from pipeline.predict.sliding import Sliding, slide_over
from pipeline.predict.whole_clip import predict_whole
from pipeline.predict.workflow import predict
from pipeline.train.settings import train_settings
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.poses import VideoPoses
from pose_extraction.skeleton import COCO17, NTU25
from recognition import run_file
from recognition.confidence.confidence import Confidence
from recognition.inference.windows import Grid
from recognition.runs import load_run
from recognition.settings import DataSettings, ModelSettings, RunSettings, TrainingSettings
from recognition.training.run import train
from test_support.networks.trained_run import LABEL_NAMES, made_clip, without_persons, write_data

pytestmark = pytest.mark.processor

ENGINE = Engine(device="cpu", backend="torch", precision="fp32")


@pytest.fixture
def run(trained: tuple[Path, Path]) -> Path:
    return trained[0]


@pytest.fixture
def skeletons(tmp_path: Path) -> Path:
    """Six clips without labels, the third without persons; the last three are in split "late"."""
    rng = np.random.default_rng(5)
    clips = [made_clip(f"new{n}", LABEL_NAMES[n % 3], rng) | {"label": -1, "label_name": None} for n in range(6)]
    clips[2] = without_persons(clips[2])
    return write_data(tmp_path / "new.pkl", clips, {"early": ["new2"], "late": ["new3", "new4", "new5"]})


def predicted(
    given: Path,
    run: Path | None,
    split: str | None = None,
    *,
    per_person: bool | None = None,
    windows: float | None = None,
    explain: bool = False,
    threshold: Threshold | None = None,
    figures: Path = Path("unused"),
    printed: io.StringIO | None = None,
) -> list[Answer]:
    scope = scope_of(per_person=per_person, windows=windows, overlay=None, explain=explain, threshold=threshold)
    wanted = PredictOptions(scope, windows, figures=figures)
    console = Console(file=printed or io.StringIO(), width=400)
    return list(predict([given], run, wanted, engine=ENGINE, file_options=SkeletonFileOptions(split), console=console))


def test_every_clip_has_a_prediction_or_a_reason(run: Path, skeletons: Path) -> None:
    found = {answer.clip: answer for answer in predicted(skeletons, run)}
    assert sorted(found) == [f"new{n}" for n in range(6)]
    assert not found["new2"].best and "no person" in str(found["new2"].reason)
    answered = [found[f"new{n}"] for n in (0, 1, 3, 4, 5)]
    for answer in answered:
        shares = [share for _, share in answer.best]
        # All three classes are in the top five.
        assert sorted(name for name, _ in answer.best) == sorted(LABEL_NAMES)
        assert (answer.label, answer.probability) == answer.best[0]
        assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-5)
    right = sum(answer.label == LABEL_NAMES[int(answer.clip[-1]) % 3] for answer in answered)
    assert right >= 3


def test_reasons_for_skipped_clips_do_not_mention_unavailable_options(run: Path, tmp_path: Path) -> None:
    clips = [made_clip(f"new{n}", None, np.random.default_rng(n)) for n in range(4)]
    clips[1] = without_persons(clips[1])
    clips[2]["keypoint"][0, 0, 0, 0] = np.inf
    printed = io.StringIO()
    data = write_data(tmp_path / "new.pkl", [*clips, clips[3]], {})
    reasons = {answer.clip: answer.reason for answer in predicted(data, run, printed=printed) if answer.reason}
    assert sorted(reasons) == ["new1", "new2"] and not any("--skip" in reason for reason in reasons.values())
    assert "warning: 1 entry of the file is skipped; the first: " in printed.getvalue()
    assert "'new3' occurs twice" in printed.getvalue() and "--skip" not in printed.getvalue()


def test_split_selects_clips(run: Path, skeletons: Path) -> None:
    assert [answer.clip for answer in predicted(skeletons, run, "late")] == ["new3", "new4", "new5"]
    assert len(predicted(skeletons, run, "all")) == len(predicted(skeletons, run)) == 6
    with pytest.raises(UsageError, match="there is no split 'noon'"):
        predicted(skeletons, run, "noon")
    content = read_pickle(skeletons)
    named = write_data(skeletons.parent / "named.pkl", content["annotations"], {"all": ["new1", "new2"]})
    assert [answer.clip for answer in predicted(named, run, "all")] == ["new1", "new2"]


def test_another_estimator_gives_a_warning(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = made_clip("a", None, np.random.default_rng(0), estimator="hrnet")
    path = write_data(tmp_path / "hrnet.pkl", [clip], {})
    with caplog.at_level(logging.WARNING):
        predicted(path, run)
    assert f"{path} contains skeletons of hrnet, but {run}" in caplog.text and "on skeletons of made" in caplog.text
    caplog.clear()
    predicted(path, Path("everyday"))
    assert caplog.messages == [
        f"{path} contains skeletons of hrnet, but everyday extracts with blazepose, and was measured with it; "
        "expect lower accuracy"
    ]


def test_one_of_the_estimators_of_the_run_gives_no_warning(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = run_file.load(run / "best.safetensors")
    run_file.save(tmp_path / "several.safetensors", content | {"estimator": "hrnet, made"})
    clip = made_clip("a", None, np.random.default_rng(0), estimator="hrnet")
    predicted(write_data(tmp_path / "hrnet.pkl", [clip], {}), tmp_path / "several.safetensors")
    assert not caplog.messages


def test_run_records_number_of_dimensions(run: Path) -> None:
    assert load_run(run).dimensions == 2


def test_errors_about_missing_input_contain_a_remedy(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="file not found; create it with `skelpipe extract"):
        predicted(tmp_path / "none.pkl", run)
    with pytest.raises(UsageError, match="no such file or folder"):
        predicted(tmp_path / "none.mp4", run)


def test_without_a_run_the_recognizer_of_the_package_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    data = write_data(tmp_path / "a.pkl", [made_clip("a", None, np.random.default_rng(0))], {})
    (answer,) = predicted(data, None, printed=printed, threshold=0)
    assert answer.label is not None and len(answer.best) == 5
    assert "using the recognizer 'everyday' of the package" in printed.getvalue()


def test_too_few_frames_give_no_prediction(run: Path, tmp_path: Path) -> None:
    short = made_clip("short", None, np.random.default_rng(0), frames=4)
    enough = made_clip("enough", None, np.random.default_rng(0), frames=5)
    found = {answer.clip: answer for answer in predicted(write_data(tmp_path / "a.pkl", [short, enough], {}), run)}
    assert "in only 4 frames" in str(found["short"].reason) and found["short"].label is None
    assert found["enough"].label in LABEL_NAMES


def test_prediction_below_the_threshold_is_unknown(run: Path, skeletons: Path) -> None:
    sure = {answer.clip: answer for answer in predicted(skeletons, run)}
    limit = sorted(answer.probability for answer in sure.values() if answer.probability)[2]
    for answer in predicted(skeletons, run, threshold=limit):
        before = sure[answer.clip]
        assert answer.best == before.best and answer.probability == before.probability
        expected = "unknown" if before.probability is not None and before.probability < limit else before.label
        assert answer.label == expected
    for wrong in (-0.1, 1.5):
        with pytest.raises(UsageError, match="must be a probability from 0 to 1"):
            predicted(skeletons, run, threshold=wrong)


def run_file_with(confidence: Confidence, run: Path, path: Path) -> Path:
    content = run_file.load(run / "best.safetensors")
    run_file.save(path, content | {"confidence": confidence.plain()})
    return path


@pytest.fixture
def cautious(run: Path, skeletons: Path, tmp_path: Path) -> Path:
    """The run with another temperature, and a threshold above the scores of two of the five clips with persons."""
    confidence = Confidence(temperature=3.0, kept=0.95, clips=40)
    without = run_file_with(confidence, run, tmp_path / "without.safetensors")
    scores = sorted(
        answer.unknown_score for answer in predicted(skeletons, without) if answer.unknown_score is not None
    )
    threshold = (scores[1] + scores[2]) / 2
    return run_file_with(replace(confidence, threshold=threshold), run, tmp_path / "cautious.safetensors")


def test_threshold_of_the_run_is_the_default(cautious: Path, skeletons: Path) -> None:
    printed, threshold = io.StringIO(), load_run(cautious).confidence.threshold
    assert threshold is not None
    found = [answer for answer in predicted(skeletons, cautious, printed=printed) if answer.best]
    every = [answer for answer in predicted(skeletons, cautious, threshold=0) if answer.best]
    assert [answer.best for answer in found] == [answer.best for answer in every]
    assert [answer.label for answer in every] == [answer.best[0][0] for answer in every]
    for answer in found:
        shares = np.array([share for _, share in answer.best])
        # The entropy, because the stored score is that of the probabilities alone.
        assert answer.unknown_score == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-5)
        assert answer.label == ("unknown" if answer.unknown_score > threshold else answer.best[0][0])
    assert f"above {threshold:.3g} are reported as unknown; --threshold 0 reports every action" in printed.getvalue()
    assert [answer.label for answer in predicted(skeletons, cautious, threshold="auto") if answer.best] == [
        answer.label for answer in found
    ]
    assert sum(answer.label == "unknown" for answer in found) == 3 and len(found) == 5


def test_auto_requires_a_threshold_in_the_run(run: Path, skeletons: Path) -> None:
    held_out = load_run(run).confidence.clips
    assert 0 < held_out < 19
    reason = (
        f"auto: .*best.safetensors has no threshold, because none can be derived from {held_out} clips; at least 19"
    )
    with pytest.raises(UsageError, match=reason):
        predicted(skeletons, run, threshold="auto")
    assert not any(answer.label == "unknown" for answer in predicted(skeletons, run))


def test_recognizer_for_clips_in_memory_agrees(cautious: Path, skeletons: Path) -> None:
    recognizer = skelpipe.Recognizer(cautious, device="cpu", backend="torch", precision="fp32")
    answers = {answer.clip: answer for answer in predicted(skeletons, cautious)}
    for clip in read_pickle(skeletons)["annotations"]:
        if clip["frame_dir"] != "new2":
            found = recognizer(clip["keypoint"], clip["keypoint_score"], clip["img_shape"])
            labels, probabilities = found
            answer = answers[clip["frame_dir"]]
            assert (labels[0], probabilities[0]) == (answer.best[0][0], pytest.approx(answer.probability, abs=1e-5))
            assert found.unknown_score == pytest.approx(answer.unknown_score, abs=1e-4)
            assert found.is_unknown == (answer.label == "unknown")
            assert copy.copy(found).unknown_score == found.unknown_score


def test_windows_and_persons_have_unknown_scores(cautious: Path, tmp_path: Path) -> None:
    clip = made_clip("long", None, np.random.default_rng(0), frames=48, fps=8.0)
    data = write_data(tmp_path / "long.pkl", [clip], {})
    threshold = load_run(cautious).confidence.threshold
    for options in ({"windows": 2.0}, {"per_person": True}):
        for answer in predicted(data, cautious, **options):  # type: ignore[arg-type]
            assert answer.unknown_score is not None and 0 <= answer.unknown_score <= np.log(3)
            assert (answer.label == "unknown") == (answer.unknown_score > threshold)


def two_people(first: str, second: str, **extra: object) -> dict:
    """A clip in which two persons perform different actions."""
    one, two = (
        made_clip("both", label, np.random.default_rng(n), frames=24) for n, label in enumerate((first, second))
    )
    both = {name: np.concatenate([one[name], two[name]]) for name in ("keypoint", "keypoint_score")}
    return one | both | {"label": -1, "label_name": None, **extra}


def test_each_person_is_classified_as_if_alone(run: Path, tmp_path: Path) -> None:
    both = two_people("jump", "wave", track_id=np.array([7, 3]))
    data = write_data(tmp_path / "both.pkl", [both], {})
    together, *persons = predicted(data, run, per_person=True)
    assert together.person is None and [answer.person for answer in persons] == [7, 3]
    for row, answer in enumerate(persons):
        alone = {name: both[name][row : row + 1] for name in ("keypoint", "keypoint_score")}
        (expected,) = predicted(write_data(tmp_path / f"{row}.pkl", [both | alone | {"track_id": [7]}], {}), run)
        assert dict(answer.best) == pytest.approx(dict(expected.best), abs=1e-5)


def test_windows_require_timestamps(run: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "a.pkl", [two_people("jump", "wave")], {})
    with pytest.raises(UsageError, match=r"has neither timestamps .* omit --windows"):
        predicted(data, run, windows=1)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="must be a number of seconds above 0"):
            predicted(data, run, windows=wrong)


@pytest.mark.slow
def test_clips_in_3d_support_persons_windows_and_explanations(tmp_path: Path) -> None:
    """Clips without scores or image size, as written by `skelpipe convert`; absent persons are skipped."""
    rng = np.random.default_rng(0)
    clips = []
    for number in range(6):
        keypoint = rng.normal(size=(2, 30, 25, 3)).astype(np.float32)
        # Only joints that are visible.
        keypoint[:, :, 0] = 0
        keypoint[1] *= number != 5
        clips.append(
            {"frame_dir": f"clip{number}", "label": number % 2, "total_frames": 30, "keypoint": keypoint, "fps": 30.0}
        )
    names = [clip["frame_dir"] for clip in clips]
    data = write_data(tmp_path / "ntu.pkl", clips, {"one_train": names[:4], "one_test": names[4:]})
    settings = RunSettings(
        out=str(tmp_path / "run"),
        data=DataSettings(file=str(data), num_frames="own", max_frames=16, holdout=0, random_move=False),
        model=ModelSettings(dim=16, depth=1, heads=2, dim_representation=16, hidden=32, max_frames=16),
        training=TrainingSettings(phase1_epochs=1, phase2_epochs=0, batch_size=4, device="cpu"),
    )
    run = train(settings)
    found = predicted(data, run, "one_test", windows=0.5, explain=True, figures=tmp_path / "figures")
    assert {(answer.clip, answer.person) for answer in found} == {("clip4", 0), ("clip4", 1), ("clip5", 0)}
    assert all(answer.end is not None and answer.end <= 1.001 for answer in found)
    assert all(set(answer.attention) == set(NTU25.joints) for answer in found)
    assert (tmp_path / "figures" / "clip5.png").is_file()
    together, *persons = [one for one in predicted(data, run, "one_test", per_person=True) if one.clip == "clip4"]
    assert together.person is None and [answer.person for answer in persons] == [0, 1]
    whole = predicted(data, run, "one_test")[0]
    assert dict(together.best) == pytest.approx(dict(whole.best), abs=1e-5)


def test_windows_find_a_change_of_action(run: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    # 48 frames of each action at 16 frames/s: one person waves for three seconds, then jumps for three.
    parts = [made_clip("long", label, rng, frames=16) for label in ("wave",) * 3 + ("jump",) * 3]
    for part in parts:
        part["keypoint"] -= part["keypoint"][:, :1, :1] - 150
    long = parts[0] | {
        name: np.concatenate([part[name] for part in parts], axis=1) for name in ("keypoint", "keypoint_score")
    }
    long |= {"total_frames": 96, "label": -1, "label_name": None, "fps": 16.0, "track_id": np.array([4])}
    found = predicted(write_data(tmp_path / "long.pkl", [long], {}), run, windows=1.0)
    assert all(answer.person == 4 for answer in found)
    assert found[0].start == 0.0 and found[-1].end == pytest.approx(6.0)
    for before, after in itertools.pairwise(found):
        assert before.end == pytest.approx(after.start) and before.label != after.label
    printed = [next(answer.label for answer in found if answer.start <= t < answer.end) for t in (1.0, 2.0, 4.5, 5.5)]
    assert printed == ["wave", "wave", "jump", "jump"]


@pytest.mark.slow
def test_explanations_are_written_as_numbers_and_a_figure(run: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "both.pkl", [two_people("jump", "wave", track_id=np.array([0, 1]))], {})
    answers = predicted(data, run, per_person=True, explain=True, figures=tmp_path / "figures")
    assert len(answers) == 3
    for answer in answers:
        assert set(answer.attention) == set(COCO17.joints)
        assert np.mean(list(answer.attention.values())) == pytest.approx(1, abs=1e-3)
    assert (tmp_path / "figures" / "both.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_explanation_requires_attention(trained: tuple[Path, Path], skeletons: Path, tmp_path: Path) -> None:
    given = ["baselines/stgcnpp", "dim=8", "depth=1", "num_frames=8", "phase1_epochs=1", "warmup_epochs=0"]
    options = {"data.file": str(trained[1]), "out": str(tmp_path / "graph"), "training.device": "cpu"}
    graph = train(train_settings(given, options))
    assert len(predicted(skeletons, graph, "late")) == 3
    with pytest.raises(
        UsageError, match=r"--explain: .*graph/best\.safetensors uses stgcnpp, which has no attention layers"
    ):
        predicted(skeletons, graph, "late", explain=True)


def test_command_prints_json_lines_or_a_table_or_writes_a_file(run: Path, skeletons: Path, tmp_path: Path) -> None:
    words = ["predict", str(skeletons), "--run", str(run), "--device", "cpu"]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == 6
    assert [line["clip"] for line in lines if line["predictions"] is None] == ["new2"]
    assert all((line["reason"] is None) == (line["predictions"] is not None) for line in lines)
    assert "no prediction for 1 of 6 inputs" in result.stderr
    out = tmp_path / "answers.jsonl"
    written = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert written.stdout.strip() == str(out) and len(out.read_text(encoding="utf-8").splitlines()) == 6
    rows = list(csv.DictReader(CliRunner().invoke(app, [*words, "--csv"]).stdout.splitlines()))
    assert [row["clip"] for row in rows] == [line["clip"] for line in lines]
    assert [row["label"] or None for row in rows] == [line["label"] for line in lines]
    assert [row["clip"] for row in rows if row["reason"]] == ["new2"]
    best = [(row["label_2"], float(row["probability_2"])) for row in rows if row["label_2"]]
    expected = [line["predictions"][1] for line in lines if line["predictions"]]
    assert best == [(one["label"], pytest.approx(one["probability"], abs=1e-5)) for one in expected]
    for row, line in zip(rows, lines, strict=True):
        assert line["unknown_score"] == (pytest.approx(float(row["unknown_score"]), abs=1e-5) if row["label"] else None)
    unknown = CliRunner().invoke(app, [*words, "--threshold", "1", "--csv"]).stdout.splitlines()
    for row, line in zip(csv.DictReader(unknown), lines, strict=True):
        assert row["label"] == ("unknown" if line["predictions"] else "")
        assert row["label_1"] == (line["predictions"][0]["label"] if line["predictions"] else "")
    both = CliRunner().invoke(app, [*words, "--csv", "--json"])
    assert both.exit_code == 2 and "choose one of the formats" in both.stderr
    table = CliRunner().invoke(app, words)
    assert table.exit_code == 0 and "new2" in table.stdout and "none:" in table.stdout


def test_command_writes_formats_of_other_programs(run: Path, skeletons: Path, tmp_path: Path) -> None:
    clips = [clip | {"fps": 8.0} for clip in read_pickle(skeletons)["annotations"]]
    data = write_data(tmp_path / "timed.pkl", clips, {})
    words = ["predict", str(data), "--run", str(run), "--device", "cpu", "--per-person"]
    expected = [answer for answer in predicted(data, run, per_person=True) if answer.label is not None]
    printed = CliRunner().invoke(app, [*words, "--format", "boris"])
    assert printed.exit_code == 0, printed.output
    rows = list(csv.DictReader(printed.stdout.splitlines(), delimiter="\t"))
    assert sorted((row["Media file"], row["Behavior"], row["Start (s)"]) for row in rows) == sorted(
        (answer.clip, answer.label, f"{answer.start:.3f}") for answer in expected
    )
    written = CliRunner().invoke(app, [*words, "--format", "cvat", "--out", str(tmp_path / "cvat")])
    assert written.exit_code == 0, written.output
    paths = {path.stem: path for path in map(Path, written.stdout.splitlines())}
    assert paths.keys() == {clip["frame_dir"] for clip in clips}
    boxes = paths["new0"].read_text(encoding="utf-8").count('outside="0"')
    assert boxes == (clips[0]["keypoint_score"] > 0).any(axis=2).sum() > 0
    words[1] = str(skeletons)
    timeless = CliRunner().invoke(app, [*words, "--format", "srt", "--out", str(tmp_path)])
    assert timeless.exit_code == 0 and "are left out, because srt requires times" in timeless.stderr


@pytest.mark.slow
def test_clip_without_timestamps_has_no_times(run: Path, skeletons: Path, tmp_path: Path) -> None:
    found = predicted(skeletons, run, "late", per_person=True, explain=True, figures=tmp_path)
    assert len(found) == 6 and all(answer.best for answer in found)
    assert {(answer.start, answer.end) for answer in found} == {(None, None)}


def together(people: list[dict[str, Any]]) -> VideoPoses:
    """Combine single-person clips into one video."""
    joined = {name: np.concatenate([one[name] for one in people]) for name in ("keypoint", "keypoint_score")}
    return video_of(people[0] | joined | {"fps": 8.0}, "here")


def test_overlay_has_no_caption_for_persons_outside_the_input(run: Path) -> None:
    predictor = predictor_for(load_run(run), ENGINE)
    first, short, third, fourth = (made_clip("clip", "wave", np.random.default_rng(n)) for n in range(4))
    short["keypoint_score"][:, 3:] = 0
    for persons, captioned in ((False, {0, 1}), (True, {0, 2, 3})):
        answers, stretch, _ = predict_whole(
            predictor, Scope(True, persons), together([first, short, third, fourth]), "clip"
        )
        # The run uses two persons per clip; three frames are too few to classify the second one.
        assert set(stretch.captions) == captioned
        assert [answer.person for answer in answers if answer.reason] == ([1] if persons else [])
    sliding = Sliding(predictor, Scope(True, False), Grid(1.0), "clip")
    seen: set[int] = set()
    for cell, window in slide_over(together([first, third, fourth]), sliding):
        sliding.classify(window)
        seen |= set(sliding.settle(cell, window).stretch.captions)
    assert seen == {0, 1}


def test_captions_of_unknown_actions_show_no_percentage(run: Path) -> None:
    predictor = predictor_for(load_run(run), ENGINE)
    video = together([made_clip("clip", "wave", np.random.default_rng(n)) for n in range(2)])
    for threshold, wanted in ((1.0, "unknown"), (0.0, rf"({'|'.join(LABEL_NAMES)}) \d+%")):
        scope = Scope(True, persons=True, threshold=threshold)
        captions = list(predict_whole(predictor, scope, video, "clip").stretch.captions.values())
        sliding = Sliding(predictor, Scope(False, persons=True, threshold=threshold), Grid(1.0), "clip")
        for cell, window in slide_over(video, sliding):
            sliding.classify(window)
            captions += sliding.settle(cell, window).stretch.captions.values()
        assert len(captions) > 2 and all(re.fullmatch(wanted, caption) for caption in captions)


def test_newest_run_that_predicts_actions_is_used(
    run: Path, skeletons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "runs" / "actions")
    encoder = tmp_path / "runs" / "encoder"
    shutil.copytree(run, encoder)
    (encoder / "about.json").write_text('{"method": "mamp"}')
    os.utime(encoder / "last.safetensors", ns=(2**62, 2**62))
    printed = io.StringIO()
    assert len(predicted(skeletons, None, "late", printed=printed)) == 3
    assert "using runs/actions, because runs/encoder is a pre-trained encoder" in printed.getvalue()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_unreadable_folder_is_reported_as_a_failure(run: Path, tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0)
    (answer,) = predicted(tmp_path, run)
    assert answer.failed and "cannot be listed" in str(answer.reason) and answer.clip == str(tmp_path / "shut")


def test_windows_always_show_times() -> None:
    for times in (False, True):
        output = io.StringIO()
        answers = [Answer("clip", 0, 0.5, 2.25, "wave", 0.5, (("wave", 0.5),))]
        print_table(answers, Console(file=output, width=100), times=times)
        assert ("0.50 - 2.25" in output.getvalue()) == times


def test_clip_names_are_not_parsed_as_markup() -> None:
    output = io.StringIO()
    answer = Answer("[bold]odd", label="[red]wave", probability=0.5, best=(("[red]wave", 0.5),))
    print_table([answer], Console(file=output, width=100))
    assert "[bold]odd" in output.getvalue() and "[red]wave 50.0%" in output.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("per_person", [False, True])
def test_no_answer_or_name_is_cut_off_in_a_narrow_terminal(width: int, per_person: bool) -> None:
    best = (("baseball_pitch", 0.701), ("baseball_swing", 0.2), ("wave_both_hands", 0.05), ("wave_one_hand", 0.04))
    name = "people/TrumanShow_wave_f_nm_np1_fr_med_26"
    person = 0 if per_person else None
    answers = [
        Answer(name, person, 0.0, 12.5, "baseball_pitch", 0.701, 0.3, best),
        Answer(name, person, 12.5, 20.0, "unknown", 0.701, 3.0, best),
        Answer("other", reason="no person is visible in any frame of this clip, which shows an empty road"),
    ]
    output = io.StringIO()
    print_table(answers, Console(file=output, width=width))
    lines = output.getvalue().splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    headings = [heading.strip() for heading in lines[1].split("┃")[1:-1]]
    assert max(map(len, lines)) <= width and "…" not in output.getvalue()
    assert "".join(row[0] for row in rows) == f"{name}{name}other"
    words = " ".join(filter(None, (row[headings.index("answer")] for row in rows)))
    assert words == f"baseball_pitch 70.1% unknown (baseball_pitch 70.1%?) none: {answers[2].reason}"


def test_wide_terminals_show_the_next_most_probable_actions() -> None:
    output = io.StringIO()
    answer = Answer("clip", label="wave", probability=0.5, best=(("wave", 0.5), ("sit", 0.3), ("run", 0.2)))
    print_table([answer], Console(file=output, width=60))
    assert "│ clip │ wave 50.0% │ sit 30.0% │ run 20.0% │" in output.getvalue()
