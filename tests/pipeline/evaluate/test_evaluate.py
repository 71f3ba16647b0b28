"""`skelpipe evaluate` on a run that is trained for a few seconds."""

import dataclasses
import io
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.evaluate.evaluation import Evaluation
from pipeline.evaluate.report import as_dictionary, print_table, warnings_of
from pipeline.evaluate.workflow import evaluate
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.formats.person_labels import PersonLabel
from pose_extraction.formats.persons import set_person_labels
from pose_extraction.formats.pickles import read_pickle
from recognition import run_file
from recognition.confidence.confidence import Confidence
from recognition.data.splits import matching_test_split
from recognition.inference.skeleton_clips import clips_for
from recognition.runs import load_run
from test_support.networks.trained_run import LABEL_NAMES, made_clip, without_persons, write_data

pytestmark = pytest.mark.processor

ENGINE = Engine(device="cpu", backend="torch", precision="fp32")


def evaluated(
    run: Path | None,
    data: Path | None = None,
    split: str | None = None,
    *,
    skip_bad: bool = False,
    call: Mapping[str, str] | None = None,
) -> tuple[Evaluation, str]:
    """Evaluate without figures; return the result and the console output."""
    printed = io.StringIO()
    console = Console(file=printed, width=400)
    return evaluate(
        run, data, split, engine=ENGINE, skip_bad=skip_bad, call=call, figures=False, console=console
    ), printed.getvalue()


def some_clips(count: int = 6, seed: int = 5) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [made_clip(f"other{n}", LABEL_NAMES[n % 3], rng) for n in range(count)]


@pytest.mark.slow
def test_matching_test_split_is_the_default(trained: tuple[Path, Path]) -> None:
    result, printed = evaluated(trained[0])
    assert (result.split, result.metrics.clips) == ("one_test", 12)
    assert "split one_test" in printed and "warning" not in printed
    assert result.metrics.top1 > 0.6
    assert result.folder == trained[0] / "evaluation" / "made-one_test"


def test_labelled_persons_are_scored_one_by_one(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Two persons of one video do different things; only the labelled ones count."""
    rng = np.random.default_rng(3)
    persons = [made_clip("pair", label, rng, fps=10.0) for label in ("jump", "squat", "wave")]
    pair = persons[0] | {"label": -1, "label_name": None, "track_id": np.arange(3)}
    for key in ("keypoint", "keypoint_score"):
        pair[key] = np.concatenate([person[key] for person in persons])
    set_person_labels(pair, [PersonLabel("jump", 0), PersonLabel("squat", 1)])
    data = write_data(tmp_path / "pair.pkl", [pair], {"test": ["pair"]})
    result, printed = evaluated(trained[0], data, "test")
    assert result.scores.names == ("pair#0", "pair#1") and result.persons == result.metrics.clips == 2
    assert result.metrics.top1 == 1 and result.unlabelled == 0 and "warning" not in printed


def test_files_suffice_to_recompute_all_metrics(trained: tuple[Path, Path]) -> None:
    result, _ = evaluated(trained[0])
    with np.load(result.folder / "scores.npz", allow_pickle=False) as stored:
        probabilities, labels = stored["probabilities"], stored["labels"]
        assert stored["names"].tolist() == [f"clip{n}" for n in range(36, 48)]
        assert stored["label_names"].tolist() == LABEL_NAMES
    assert labels.tolist() == [n % 3 for n in range(36, 48)]
    report = json.loads((result.folder / "evaluation.json").read_text(encoding="utf-8"))
    assert report["top1"] == pytest.approx((probabilities.argmax(1) == labels).mean())
    assert report["clips"] == np.sum(report["confusion"]) == 12
    assert [row["class"] for row in report["per_class"]] == LABEL_NAMES
    assert report["engine"] == {"device": "cpu", "backend": "torch", "precision": "fp32"}
    assert (report["split"], report["trained_on"], report["estimator"]) == ("one_test", 0, "made")
    assert report["top1_interval"][0] <= report["top1"] <= report["top1_interval"][1]


def test_calibration_and_answered_clips_are_reported(trained: tuple[Path, Path], tmp_path: Path) -> None:
    content = run_file.load(trained[0] / "best.safetensors")
    content["confidence"] = Confidence(temperature=3.0, threshold=0.9, kept=0.95, clips=40).plain()
    (tmp_path / "run").mkdir()
    run_file.save(tmp_path / "run" / "best.safetensors", content)
    result, _ = evaluated(tmp_path / "run", trained[1], "one_test")
    report = json.loads((result.folder / "evaluation.json").read_text(encoding="utf-8"))
    with np.load(result.folder / "scores.npz", allow_pickle=False) as stored:
        probabilities, labels, unknown = stored["probabilities"], stored["labels"], stored["unknown"]
    np.testing.assert_allclose(unknown, -(probabilities * np.log(probabilities)).sum(axis=1), rtol=1e-4)
    brier = ((probabilities - np.eye(3)[labels]) ** 2).sum(axis=1).mean()
    assert report["calibration"]["brier"] == pytest.approx(brier, rel=1e-5)
    assert (report["calibration"]["temperature"], report["calibration"]["fitted_on"]) == (3.0, 40)
    answered = unknown <= 0.9
    assert report["unknown"]["answered"] == answered.sum() and report["unknown"]["threshold"] == 0.9
    assert report["unknown"]["share"] == answered.mean()
    printed = io.StringIO()
    print_table(result, Console(file=printed, width=200))
    assert f"{result.calibration.ece:.3f}  (" in printed.getvalue()
    assert f"{answered.sum()} of 12 clips" in printed.getvalue()


def test_run_without_a_threshold_reports_calibration_only(trained: tuple[Path, Path]) -> None:
    result, _ = evaluated(trained[0])
    assert result.answered is None and result.calibration.clips == 12
    assert json.loads((result.folder / "evaluation.json").read_text(encoding="utf-8"))["unknown"] is None


def test_training_and_held_out_clips_are_counted_and_reported(trained: tuple[Path, Path]) -> None:
    result, printed = evaluated(trained[0], split="one_train")
    assert result.trained_on + result.chosen_on == 36 and result.chosen_on > 0
    assert f"warning: {result.trained_on} of 36 clips have the names of training clips of the run" in printed
    assert f"warning: {result.chosen_on} of 36" in printed
    settings = result.trained.settings
    for keeps in (False, True):
        # The classifier of an earlier run takes in the training clips only.
        data = settings.data.model_copy(update={"descriptors": True})
        training = settings.training.model_copy(update={"keep_descriptors": keeps})
        changed = settings.model_copy(update={"data": data, "training": training})
        other = dataclasses.replace(result, trained=dataclasses.replace(result.trained, settings=changed))
        assert any("was fitted to them" in line for line in warnings_of(other)) != keeps
    whole, _ = evaluated(trained[0], split="all")
    assert (whole.metrics.clips, whole.trained_on + whole.chosen_on) == (48, 36)


def test_a_split_named_all_is_used_instead_of_every_clip(trained: tuple[Path, Path], tmp_path: Path) -> None:
    content = read_pickle(trained[1])
    data = write_data(tmp_path / "b.pkl", content["annotations"], content["split"] | {"all": ["clip1", "clip40"]})
    result, _ = evaluated(trained[0], data, split="all")
    assert result.scores.names == ("clip1", "clip40")
    assert evaluated(trained[0], data)[0].split == "one_test"


def test_labels_of_another_file_are_matched_by_name(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Same clips, with reordered class numbers and an additional class without clips."""
    original = read_pickle(trained[1])
    order = ["squat", "crawl", "wave", "jump"]
    for clip in original["annotations"]:
        clip["label"] = order.index(clip["label_name"])
    other = write_data(tmp_path / "b.pkl", original["annotations"], original["split"], label_names=order)
    first, _ = evaluated(trained[0])
    second, _ = evaluated(trained[0], other)
    assert second.metrics.confusion.tolist() == first.metrics.confusion.tolist()
    assert second.scores.labels.tolist() == first.scores.labels.tolist()


def test_unknown_class_is_an_error(trained: tuple[Path, Path], tmp_path: Path) -> None:
    clips = some_clips()
    data = write_data(tmp_path / "b.pkl", clips, {"test": ["other0"]}, label_names=["crawl", "jump", "squat"])
    with pytest.raises(UsageError, match=r"b\.pkl: contains clips of class 'crawl', but .* are wave, jump, squat"):
        evaluated(trained[0], data)


def with_classes(trained: tuple[Path, Path], path: Path, **names: str) -> Path:
    """Write the clips of the run's file with other class names; every second clip of "jump" is a "hop"."""
    content = read_pickle(trained[1])
    own = [names.get(name, name) for name in LABEL_NAMES] + ["hop"]
    for number, clip in enumerate(content["annotations"]):
        if clip["label_name"] == "jump" and number % 2:
            clip["label"] = 3
        clip["label_name"] = own[clip["label"]]
    return write_data(path, content["annotations"], content["split"], label_names=own)


def test_classes_with_other_names_are_called_as_in_the_run(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Two of them are one class of the run."""
    data = with_classes(trained, tmp_path / "called.pkl", wave="wave 2")
    first, _ = evaluated(trained[0])
    options = ["--data", str(data), "--no-figures", "--device", "cpu", "--precision", "fp32", "--json"]
    command = ["evaluate", str(trained[0]), *options]
    called = CliRunner().invoke(app, [*command, "--call", "wave 2=wave", "--call", "hop=jump"])
    assert called.exit_code == 0, called.output
    found = json.loads(called.stdout)
    assert found["confusion"] == first.metrics.confusion.tolist()
    assert found["call"] == {"wave 2": "wave", "hop": "jump"} and as_dictionary(first)["call"] == {}
    stored = trained[0] / "evaluation" / "called-one_test" / "evaluation.json"
    assert json.loads(stored.read_text(encoding="utf-8")) == found
    card = CliRunner().invoke(app, ["card", str(trained[0])])
    assert "wave 2=wave, hop=jump" in card.output and "name: called (classes renamed)\n" in card.output
    missing = CliRunner().invoke(app, command)
    output = " ".join(missing.output.split())
    assert missing.exit_code == 2 and "contains clips of classes 'wave 2', 'hop', but the classes of" in output
    assert "as in --call 'wave 2=NAME'" in output


def test_results_with_other_names_of_classes_have_a_folder_of_their_own(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained[0], tmp_path / "run"))
    shutil.rmtree(run / "evaluation", ignore_errors=True)
    first, _ = evaluated(run)
    before = (first.folder / "evaluation.json").read_bytes()
    swapped = {"wave": "jump", "jump": "wave"}
    second, again = (evaluated(run, call=swapped)[0] for _ in range(2))
    assert second.folder == again.folder == first.folder.with_name(f"{first.folder.name}-2")
    assert (first.folder / "evaluation.json").read_bytes() == before
    assert evaluated(run)[0].folder == first.folder


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["wave2"], "--call wave2: must have the form OLD=NEW, such as jack=jumping_jacks"),
        (["wave2=wave", "wave2=jump"], "--call wave2=jump: class 'wave2' is already called 'wave'"),
        (["wav2=wave"], "--call wav2=wave: there is no class 'wav2' in B.PKL; did you mean wave2?"),
        (["wave2=wavr"], "--call wave2=wavr: there is no class 'wavr' in RUN; did you mean wave?"),
        (["wave2=zzz"], "--call wave2=zzz: there is no class 'zzz' in RUN; there are wave, jump, squat"),
        (["--protocol", "linear", "wave2=wave"], "--call wave2=wave: has no effect with --protocol"),
    ],
)
def test_unknown_names_of_classes_are_answered_with_the_nearest(
    trained: tuple[Path, Path], tmp_path: Path, call: list[str], message: str
) -> None:
    data = with_classes(trained, tmp_path / "b.pkl", wave="wave2")
    *protocol, last = call if call[0] == "--protocol" else (call[-1],)
    pairs = [word for pair in (call[:-1] if not protocol else []) for word in ("--call", pair)]
    command = ["evaluate", str(trained[0]), "--data", str(data), "--no-figures", *protocol, *pairs, "--call", last]
    if protocol:
        command.remove("--no-figures")
    result = CliRunner().invoke(app, command)
    expected = message.replace("B.PKL", str(data)).replace("RUN", str(trained[0] / "best.safetensors"))
    assert result.exit_code == 2 and expected in " ".join(result.output.split()), result.output


def test_file_without_class_names_is_matched_by_number(trained: tuple[Path, Path], tmp_path: Path) -> None:
    clips = some_clips()
    data = write_data(tmp_path / "b.pkl", clips, {}, label_names=[])
    result, printed = evaluated(trained[0], data)
    assert result.split == "all" and "split all" in printed
    assert result.scores.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_unlabelled_clips_are_excluded_and_counted(trained: tuple[Path, Path], tmp_path: Path) -> None:
    clips = [*some_clips(), made_clip("silent", None, np.random.default_rng(0))]
    data = write_data(tmp_path / "b.pkl", clips, {"test": [clip["frame_dir"] for clip in clips]})
    result, printed = evaluated(trained[0], data)
    assert (result.metrics.clips, result.unlabelled) == (6, 1)
    assert "warning: 1 clip of the split has no label" in printed
    bare = write_data(tmp_path / "c.pkl", clips[-1:], {"test": ["silent"]})
    with pytest.raises(UsageError, match="no clip of split 'test' has a label"):
        evaluated(trained[0], bare)


def test_malformed_clips_are_skipped_only_on_request(trained: tuple[Path, Path], tmp_path: Path) -> None:
    clips = some_clips()
    clips[1]["keypoint"][0, 0, 0, 0] = np.inf
    data = write_data(tmp_path / "b.pkl", [*clips, clips[2]], {"test": [clip["frame_dir"] for clip in clips]})
    with pytest.raises(AnnotationError, match=r"other1.*infinit.*--skip-bad"):
        evaluated(trained[0], data)
    result, printed = evaluated(trained[0], data, skip_bad=True)
    assert (result.metrics.clips, result.left_out) == (5, 1)
    assert "warning: 1 clip of the split is malformed and is not counted" in printed
    assert "warning: 1 entry of the file is skipped; the first: " in printed and "'other2' occurs twice" in printed


def test_clips_without_persons_count_as_failures(trained: tuple[Path, Path], tmp_path: Path) -> None:
    clips = some_clips(12)
    names = [clip["frame_dir"] for clip in clips]
    whole, _ = evaluated(trained[0], write_data(tmp_path / "a.pkl", clips[2:], {"test": names[2:]}))
    clips[1] = without_persons(clips[1])
    # The other clip has joints, but all scores are below the threshold.
    run = tmp_path / "run" / "best.safetensors"
    run.parent.mkdir()
    content = run_file.load(trained[0] / "best.safetensors")
    content["settings"]["data"]["score_threshold"] = 0.5
    run_file.save(run, content)
    clips[0]["keypoint_score"] = clips[0]["keypoint_score"] * np.float32(0.1)
    result, printed = evaluated(run, write_data(tmp_path / "b.pkl", clips, {"test": names}))
    metrics = result.metrics
    assert (metrics.clips, metrics.unanswered, metrics.confusion.sum()) == (12, 2, 10)
    assert metrics.correct == whole.metrics.correct and metrics.top1 == metrics.correct / 12
    # With three classes, every prediction has the true class in its top five.
    assert metrics.top5 == pytest.approx(10 / 12)
    assert metrics.counts.tolist() == [4, 4, 4]
    assert metrics.per_class.tolist() == pytest.approx((np.diag(metrics.confusion) / 4).tolist())
    assert "2 clips of the split show no person and count as failures" in printed
    report = json.loads((result.folder / "evaluation.json").read_text(encoding="utf-8"))
    assert (report["clips"], report["unanswered"], report["left_out"]) == (12, 2, 0)
    with np.load(result.folder / "scores.npz", allow_pickle=False) as stored:
        assert sorted(stored["unanswered_names"].tolist()) == ["other0", "other1"]
    only = write_data(tmp_path / "c.pkl", clips[:2], {"test": names[:2]})
    with pytest.raises(UsageError, match="no person is visible in any labelled clip of split 'test'"):
        evaluated(run, only)


@pytest.mark.parametrize(
    ("splits", "settings", "chosen"),
    [
        (("xsub_train", "xsub_val", "xview_train", "xview_val"), {"train_split": "xview_train"}, "xview_val"),
        (("train1", "test1", "train2", "test2"), {"train_split": "train2"}, "test2"),
        (("train", "val", "test"), {}, "test"),
        # The clips that selected the model are not those of the report.
        (("train", "test", "val"), {"holdout_split": "test"}, "val"),
        (("fit", "rest"), {"train_split": "fit"}, "rest"),
        (("only",), {}, "only"),
    ],
)
def test_test_split_matches_training_split(
    splits: tuple[str, ...], settings: dict[str, str], chosen: str, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    run = load_run(trained[0])
    data = run.settings.data.model_copy(update=settings)
    run = dataclasses.replace(run, settings=run.settings.model_copy(update={"data": data}))
    clips = some_clips(2 * len(splits))
    names = [clip["frame_dir"] for clip in clips]
    path = write_data(tmp_path / "b.pkl", clips, {name: names[2 * n : 2 * n + 2] for n, name in enumerate(splits)})
    assert matching_test_split(clips_for(run, path), run.settings.data) == chosen


def test_error_messages_contain_a_remedy(trained: tuple[Path, Path], tmp_path: Path) -> None:
    clips = some_clips()
    names = [clip["frame_dir"] for clip in clips]
    two = write_data(tmp_path / "two.pkl", clips, {"a": names[:3], "b": names[3:]})
    with pytest.raises(UsageError, match="cannot tell which of the splits 'a', 'b' to use"):
        evaluated(trained[0], two)
    with pytest.raises(UsageError, match="there is no split 'val'; the file has 'a', 'b'"):
        evaluated(trained[0], two, "val")
    for clip in clips:
        clip["keypoint"], clip["keypoint_score"] = clip["keypoint"][:, :, :13], clip["keypoint_score"][:, :, :13]
    fewer = write_data(tmp_path / "fewer.pkl", clips, {"test": names})
    with pytest.raises(UsageError, match=r"fewer\.pkl: has penn13 joints, but .* was trained on coco17"):
        evaluated(trained[0], fewer)


def test_copied_checkpoint_is_a_separate_run(trained: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "mine.safetensors"
    copy.parent.mkdir()
    shutil.copy(trained[0] / "best.safetensors", copy)
    result, printed = evaluated(copy)
    assert result.metrics.clips == 12
    assert result.folder == tmp_path / "elsewhere" / "evaluation" / "made-one_test-mine"
    assert load_run(copy).label_names == tuple(LABEL_NAMES)
    # The list of its training clips was not copied.
    report = json.loads((result.folder / "evaluation.json").read_text(encoding="utf-8"))
    assert report["trained_on"] is None and report["chosen_on"] is None
    assert "its training clips are unknown" in printed


def test_evaluations_do_not_overwrite_each_other(trained: tuple[Path, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained[0], tmp_path / "run"))
    best, _ = evaluated(run)
    last, _ = evaluated(run / "last.safetensors")
    (tmp_path / "b").mkdir()
    namesake = Path(shutil.copy(trained[1], tmp_path / "b" / trained[1].name))
    other, _ = evaluated(run, namesake)
    again, _ = evaluated(run)
    names = [result.folder.name for result in (best, last, other, again)]
    assert names == ["made-one_test", "made-one_test-last", "made-one_test-2", "made-one_test"]


def test_unwritable_folder_is_reported_before_the_computation(trained: tuple[Path, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained[0], tmp_path / "run", ignore=shutil.ignore_patterns("evaluation")))
    (run / "evaluation").write_text("in the way")
    with pytest.raises(UsageError, match=r"made-one_test: cannot write results there .*evaluate the copy"):
        evaluated(run)


def test_file_without_splits_is_evaluated_completely(trained: tuple[Path, Path], tmp_path: Path) -> None:
    clips = some_clips()
    path = write_data(tmp_path / "b.pkl", clips, {"all": [clip["frame_dir"] for clip in clips]})
    result, _ = evaluated(trained[0], path)
    assert (result.split, result.metrics.clips) == ("all", 6)


def test_names_are_not_parsed_as_markup(trained: tuple[Path, Path]) -> None:
    result, _ = evaluated(trained[0])
    output = io.StringIO()
    print_table(result, Console(file=output, width=120))
    text = output.getvalue()
    assert re.search(r"best\.safetensors, after epoch \d+, of phase (one|two)", text)
    assert "made.pkl, one_test, by made" in text and "95 % interval" in text and "mean class accuracy" in text
    assert all(name in text for name in LABEL_NAMES)


@pytest.mark.slow
def test_command_prints_json_and_draws_figures(trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained[0].parents[1])
    result = CliRunner().invoke(app, ["evaluate", "--json", "--device", "cpu", "--batch-size", "5"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    folder = trained[0] / "evaluation" / "made-one_test"
    assert report == json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    for name in ("confusion", "per_class", "tsne", "training"):
        assert cv2.imread(str(folder / f"{name}.png")).std() > 5
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("words", "report"),
    [
        (["evaluate", "nowhere"], "nowhere"),
        (["evaluate", "--backend", "tensorrt"], "--backend tensorrt: must be one of auto, torch"),
        (["evaluate", "--precision", "int8"], "--precision int8: must be one of auto, fp32"),
        (["evaluate", "--batch-size", "0"], "must be auto or a positive integer"),
        (["evaluate"], "no run in"),
    ],
)
def test_invalid_options_give_one_line_errors(
    words: list[str], report: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, words)
    assert result.exit_code in (1, 2) and report in result.output
    assert "Traceback" not in result.output
