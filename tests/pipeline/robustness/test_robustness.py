"""`skelpipe robustness` on a run that is trained for a few seconds, and on one that confuses two classes."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.robustness import tables as robustness_tables
from pipeline.robustness import tasks as robustness_tasks
from pipeline.robustness.bench import prepare_bench
from pipeline.robustness.figures import draw_all
from pipeline.robustness.report import summary_rows
from pipeline.robustness.results import Results
from pipeline.robustness.subjects import open_sources, read_subjects
from pipeline.robustness.tasks import Task, Worker
from pipeline.robustness.workflow import robustness
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from pose_extraction.skeleton import COCO17, H36M17
from recognition import run_file, run_folder, runs
from recognition.data.dataset import SkeletonDataset
from recognition.data.perturbations import GaussianNoise
from recognition.inference.scores import scores_of
from recognition.inference.skeleton_clips import clips_for
from recognition.robustness.conditions import CLEAN, NOISE, BenchSettings, Condition
from test_support.doc_pages import page, section
from test_support.networks.trained_run import LABEL_NAMES, made_data, without_persons

pytestmark = [pytest.mark.processor, pytest.mark.slow]

ENGINE = Engine(device="cpu", backend="torch", precision="fp32")
FEW = BenchSettings(repeats=2, steps=2, resamples=200, families=("noise", "part", "frames_deleted", "targeted"))


@pytest.fixture(scope="module")
def worse(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run with the weights of two classes swapped, so that one of three classes is correct."""
    folder = tmp_path_factory.mktemp("worse") / "worse"
    shutil.copytree(trained[0], folder)
    content = runs.load(folder / run_folder.BEST)
    for name in ("weight", "bias"):
        last = content["model"][f"recognizer.head.fc2.{name}"]
        content["model"][f"recognizer.head.fc2.{name}"] = last[[1, 0, 2]].clone()
    run_file.save(folder / run_folder.BEST, content)
    return folder


def measured(
    given: list[str], data: list[Path], out: Path, settings: BenchSettings = FEW, **options: Any
) -> tuple[Results | None, str]:
    output = io.StringIO()
    console = Console(file=output, width=400)
    options = {"figures": False, "console": console} | options
    found = robustness(given, data, "one_test", settings=settings, engine=ENGINE, out=out, **options)
    return found, output.getvalue()


@pytest.fixture(scope="module")
def report(trained: tuple[Path, Path], worse: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    out = tmp_path_factory.mktemp("report")
    found, _ = measured([f"good={trained[0]}", f"bad={worse}"], [trained[1]], out, figures=True)
    assert found is not None
    return found, out


def test_predictions_are_those_of_the_network_under_the_same_damage(
    report: tuple[Results, Path], trained: tuple[Path, Path]
) -> None:
    run = runs.load_run(trained[0])
    clips = clips_for(run, trained[1])
    for repeat in range(2):
        dataset = SkeletonDataset(
            clips,
            clips.splits["one_test"],
            run.settings.data,
            train=False,
            seed=repeat,
            perturbation=GaussianNoise(0.05),
        )
        scores = scores_of(run, dataset, ENGINE)
        record = report[0].answers["good", 0, Condition(NOISE, 0.05)][repeat]
        assert record.tolist() == scores.probabilities.argmax(axis=1).tolist()


def test_numbers_are_written_as_tables_and_json(report: tuple[Results, Path]) -> None:
    _, out = report
    record = json.loads((out / "robustness.json").read_text(encoding="utf-8"))
    assert record["clips"] == 12 and record["settings"]["repeats"] == 2 and record["classes"] == LABEL_NAMES
    assert [run["method"] for run in record["runs"]] == ["good", "bad"]
    with (out / "conditions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (1 + 19 + 5 + 1) == len(record["conditions"])
    for row, same in zip(rows, record["conditions"], strict=True):
        assert float(row["top1"]) == same["top1"]
    clean = {row["method"]: row["top1"] for row in record["conditions"] if row["family"] == CLEAN}
    assert clean["good"] > 0.6 and clean["good"] > clean["bad"]
    first = next(row for row in record["differences"] if row["family"] == CLEAN)
    assert first["difference"] == pytest.approx(clean["good"] - clean["bad"])
    assert first["low"] <= first["difference"] <= first["high"]
    assert {row["order"] for row in record["targeted"]} == {"layer 1", "random"}
    text = section(page("file_formats.md"), "Robustness")
    for name, rows in ((name, rows) for name, rows in record.items() if (out / f"{name}.csv").is_file()):
        assert f"| `{name}` | " + ", ".join(f"`{column}`" for column in rows[0]) + " |" in text
    assert {name for name in record if f"`{name}`" not in text} == set()
    drops = [row for row in record["conditions"] if row["method"] == "good" and row["level"] == 0.1]
    assert drops[0]["drop"] == pytest.approx(clean["good"] - drops[0]["top1"]) and drops[0]["draws"] == 2
    assert drops[0]["drop_low"] <= drops[0]["drop"] <= drops[0]["drop_high"]
    assert np.mean(drops[0]["each"]) == pytest.approx(drops[0]["top1"], abs=1e-6) and len(drops[0]["each"]) == 2


def test_numbers_include_confusions_coordinates_and_intervals(report: tuple[Results, Path]) -> None:
    found, out = report
    record = json.loads((out / "robustness.json").read_text(encoding="utf-8"))
    labels = np.array([n % 3 for n in range(36, 48)])
    answers = found.answers["bad", 0, Condition(NOISE, 0.005)]
    matrix = next(one for one in record["confusions"] if (one["condition"], one["method"]) == ("noise-0.005", "bad"))
    for true in range(3):
        for output in range(3):
            assert matrix["matrix"][true][output] == (answers[:, labels == true] == output).sum()
    assert [(row["method"], row["clip"]) for row in record["tsne"]] == [
        (method, f"clip{n}") for method in ("good", "bad") for n in range(36, 48)
    ]
    for row in record["class_gains"]:
        assert row["low"] <= row["gain"] + 1e-9 and row["gain"] <= row["high"] + 1e-9 and row["clips"] == 4
    for row in record["targeted"]:
        curves = found.curves[row["method"]][row["order"]]
        assert (row["deletion_area"], row["insertion_area"]) == pytest.approx(curves.areas)
        assert row["insertion_low"] <= row["insertion_area"] <= row["insertion_high"]
        assert (row["deletion_less_random"] is None) == (row["order"] == "random")
    areas = {(row["method"], row["order"]): row["deletion_area"] for row in record["targeted"]}
    first = record["targeted"][0]
    assert first["deletion_less_random"] == pytest.approx(areas["good", "layer 1"] - areas["good", "random"])
    pair = next(row for row in record["confused_pairs"] if row["method"] == "bad" and row["place"] == 1)
    one, other = (LABEL_NAMES.index(pair[name]) for name in ("first", "second"))
    clean = found.answers["good", 0, Condition(CLEAN)][0]
    taken = ((labels == one) & (clean == other)) | ((labels == other) & (clean == one))
    assert pair["clips_of_others"] == f"good: {taken.sum():.1f}"
    assert len((out / "robustness.json").read_text().splitlines()) < 700, "one line per table row"


def test_summary_shows_the_worst_body_part(report: tuple[Results, Path]) -> None:
    rows = {row["damage"]: row for row in summary_rows(report[0])}
    assert rows["Gaussian noise in space and time"]["level"] == 0.1
    # The network of a short run may be equally robust to all parts, so the test sets the numbers: the head is worst for
    # one method, the right arm for both together.
    accuracy = {"head": (0.2, 0.9), "right_arm": (0.3, 0.3)}
    conditions = [
        row | {"top1": accuracy.get(row["level"], (0.8, 0.8))[row["method"] == "bad"]}
        if row["family"] == "part"
        else row
        for row in report[0].tables["conditions"]
    ]
    changed = replace(report[0], tables=report[0].tables | {"conditions": conditions})
    (worst,) = (row for row in summary_rows(changed) if row["damage"] == "occlusion of a body part")
    assert (worst["level"], worst["good"], worst["bad"]) == ("right_arm", 0.3, 0.3)


def test_page_is_self_contained_and_figures_exist_in_both_formats(report: tuple[Results, Path]) -> None:
    page = (report[1] / "robustness.html").read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses and all(address.startswith("data:image/png;base64,") for address in addresses)
    assert "good - bad" in page and "wave / " in page
    assert "Gains per class" in page and ">fp32<" in page and ">skelpipe version<" in page
    names = {"noise", "occlusion", "targeted", "class_gains", "confusions", "tsne", "attention", "noisy_skeletons"}
    for name in names:
        assert (report[1] / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert b"<svg" in (report[1] / "figures" / f"{name}.svg").read_bytes()


def test_new_report_removes_files_of_the_previous_one(trained: tuple[Path, Path], tmp_path: Path) -> None:
    stale = [tmp_path / "differences.csv", *(tmp_path / "figures" / f"tsne.{kind}" for kind in ("png", "svg"))]
    others = [tmp_path / "mine.csv", tmp_path / "figures" / "mine.png"]
    (tmp_path / "figures").mkdir()
    for path in (*stale, *others):
        path.write_text("from another benchmark")
    # A single method has no differences.
    measured([str(trained[0])], [trained[1]], tmp_path, FEW.model_copy(update={"families": ("part",)}))
    assert not any(path.exists() for path in stale) and all(path.exists() for path in others)


def test_resumed_benchmark_computes_nothing_twice(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = FEW.model_copy(update={"families": ("part", "targeted")})
    given, data = [str(trained[0])], [trained[1]]
    done: list[tuple[str, str, str]] = []
    do = robustness_tasks.Worker.do

    def record(task: Any) -> tuple[str, str, str]:
        return task.kind, task.condition.name, f"{task.order} {task.seed}".strip()

    def stops_at_the_eighth(self: Any, task: Any, progress: Any) -> Any:
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(record(task))
        return do(self, task, progress)

    with monkeypatch.context() as patch:
        patch.setattr(robustness_tasks.Worker, "do", stops_at_the_eighth)
        with pytest.raises(KeyboardInterrupt):
            measured(given, data, tmp_path / "stopped", few)
    # Targeted masking is also stored per order, so that finished orders are not lost.
    assert done[-1] == ("targeted", CLEAN, "layer 1 0")
    assert len(list((tmp_path / "stopped" / "cache").glob("*.npz"))) == 7
    again: list[tuple[str, str, str]] = []

    def counted(self: Any, task: Any, progress: Any) -> Any:
        again.append(record(task))
        return do(self, task, progress)

    monkeypatch.setattr(robustness_tasks.Worker, "do", counted)
    resumed, output = measured(given, data, tmp_path / "stopped", few)
    # Clean and five parts; curves of layer 1 and of two random orders; attention.
    chance = [("targeted", CLEAN, "random 0"), ("targeted", CLEAN, "random 1")]
    assert again == [*chance, ("attention", CLEAN, "0")]
    assert re.search(r"│ 10 +│ 7 ", output)
    again.clear()
    whole, _ = measured(given, data, tmp_path / "whole", few)
    assert len(again) == 10 and resumed is not None and whole is not None
    without = {"runs", "data"}
    assert {k: v for k, v in resumed.summary.items() if k not in without} == {
        k: v for k, v in whole.summary.items() if k not in without
    }
    again.clear()
    # Another seed changes only the random orders of the curves; parts are not random.
    measured(given, data, tmp_path / "whole", few.model_copy(update={"seed": 9}))
    assert again == [("targeted", CLEAN, "random 9"), ("targeted", CLEAN, "random 10")]


def test_unreadable_results_are_measured_again(trained: tuple[Path, Path], tmp_path: Path) -> None:
    few = FEW.model_copy(update={"families": ("lower_confidence",)})
    first, _ = measured([str(trained[0])], [trained[1]], tmp_path, few)
    kept = sorted((tmp_path / "cache").glob("*.npz"))
    for path, content in zip(kept, (b"", b"no archive", kept[2].read_bytes()[:-40]), strict=False):
        path.write_bytes(content)
    again, output = measured([str(trained[0])], [trained[1]], tmp_path, few)
    assert re.search(r"│ 5 +│ 2 ", output)
    assert first is not None and again is not None and again.tables == first.tables


def changed_run(folder: Path, run: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Copy a run's best weights and change the content."""
    content = runs.load(run / run_folder.BEST)
    change(content)
    folder.mkdir(parents=True)
    run_file.save(folder / run_folder.BEST, content)
    return folder / run_folder.BEST


def test_runs_with_reordered_classes_are_compared_on_the_same_labels(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    order = [2, 0, 1]

    def reorder(content: dict[str, Any]) -> None:
        content["label_names"] = [content["label_names"][number] for number in order]
        for name in ("weight", "bias"):
            content["model"][f"recognizer.head.fc2.{name}"] = content["model"][f"recognizer.head.fc2.{name}"][order]

    other = changed_run(tmp_path / "other", trained[0], reorder)
    few = FEW.model_copy(update={"families": ("part", "targeted"), "repeats": 1})
    found, _ = measured([f"one={trained[0]}", f"other={other}"], [trained[1]], tmp_path / "out", few)
    assert found is not None
    conditions = {key[2] for key in found.answers}
    assert len(conditions) == 6
    for condition in conditions:
        one, same = (found.answers[method, 0, condition] for method in ("one", "other"))
        np.testing.assert_array_equal(one, same)
    # Curves use the run's own class numbers.
    for order_name, curve in found.curves["one"].items():
        same_curve = found.curves["other"][order_name]
        np.testing.assert_array_equal(curve.deleted, same_curve.deleted)
        np.testing.assert_array_equal(curve.inserted, same_curve.inserted)
        assert curve.deleted[0].mean() == found.accuracies["one", 0, Condition(CLEAN)].mean > 0.6
    # In the same folder, the other run may come first, which changes the class numbers.
    again, _ = measured([f"other={other}", f"one={trained[0]}"], [trained[1]], tmp_path / "out", few)
    assert again is not None
    for key, kept in found.accuracies.items():
        assert again.accuracies[key].each.tolist() == kept.each.tolist()


def test_attention_uses_the_joints_of_each_network(trained: tuple[Path, Path], tmp_path: Path) -> None:
    def sees_h36m(content: dict[str, Any]) -> None:
        content["layout"] = content["settings"]["data"]["model_layout"] = H36M17.name

    h36m = changed_run(tmp_path / "h36m", trained[0], sees_h36m)
    few = FEW.model_copy(update={"families": ("part",), "repeats": 1, "limit": 6})
    given = [f"coco={trained[0]}", f"h36m={h36m}"]
    found, _ = measured(given, [trained[1]], tmp_path / "out", few)
    assert found is not None
    bench = prepare_bench(
        given, [trained[1]], "one_test", few, ENGINE, tmp_path / "out", None, skip_bad=False, console=Console()
    )
    drawn = draw_all(bench, found)
    _, figure = drawn["attention"]
    for axes, layout in zip(figure.axes, (COCO17, H36M17), strict=False):
        assert [label.get_text() for label in axes.get_yticklabels()] == [
            name.replace("_", " ") for name in layout.joints
        ]
    titles = [axes.get_title() for axes in drawn["damaged_skeletons"][1].axes]
    assert "occlusion of a body part: right leg" in titles and not any("_" in title for title in titles)


def faint(path: Path, source: Path, names: set[str]) -> Path:
    """Copy the file; clips with the given names have scores of 0.4."""
    data = read_pickle(source)
    data["annotations"] = [
        clip | {"keypoint_score": np.full_like(clip["keypoint_score"], 0.4)} if clip["frame_dir"] in names else clip
        for clip in data["annotations"]
    ]
    write_pickle(path, data)
    return path


def wary(folder: Path, run: Path) -> Path:
    """Copy of a run with a visibility threshold of 0.5."""
    return changed_run(folder, run, lambda content: content["settings"]["data"].update(score_threshold=0.5))


def test_attention_is_shown_for_a_clip_in_which_all_runs_see_a_person(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    data = faint(tmp_path / "faint.pkl", trained[1], {"clip36", "clip38"})
    given = [f"one={trained[0]}", f"wary={wary(tmp_path / 'wary', trained[0])}"]
    few = FEW.model_copy(update={"families": ("part",), "repeats": 1, "limit": 6})

    def chosen(clip: str | None) -> str:
        return prepare_bench(
            given, [data], "one_test", few, ENGINE, tmp_path, clip, skip_bad=False, console=Console()
        ).clip

    assert chosen("clip40") == "clip40"
    found, _ = measured(given, [data], tmp_path / "out", few)
    assert found is not None and chosen(None) == "clip40"
    assert [(found.answers[name, 0, Condition(CLEAN)] == -1).sum() for name in found.methods] == [0, 2]
    with pytest.raises(UsageError, match=r"clip36: no person is visible to .*wary.*score_threshold=0.5\).*'clip40'"):
        chosen("clip36")


def test_file_without_visible_persons_is_an_error(trained: tuple[Path, Path], tmp_path: Path) -> None:
    tested = {f"clip{number}" for number in range(36, 48)}
    dim = faint(tmp_path / "dim.pkl", trained[1], tested)
    empty = read_pickle(trained[1])
    empty["annotations"] = [without_persons(one) if one["frame_dir"] in tested else one for one in empty["annotations"]]
    write_pickle(tmp_path / "empty.pkl", empty)
    one, other = str(trained[0]), str(wary(tmp_path / "wary", trained[0]))

    def refused(given: list[str], data: list[Path], family: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            measured(given, data, tmp_path / "out", FEW.model_copy(update={"families": (family,)}))

    # The only run; a later run; the second file as seen by the first run and by a later one.
    refused([other], [dim], "part", r"dim.pkl: .*wary.*score_threshold=0\.5\)")
    refused([one, other], [dim], "part", r"dim.pkl: .*wary.*score_threshold=0\.5\)")
    refused([one], [trained[1], tmp_path / "empty.pkl"], "estimators", r"empty.pkl: .*made.*score_threshold=0\)")
    refused([one, other], [trained[1], dim], "estimators", r"dim.pkl: .*wary.*score_threshold=0\.5\)")
    assert not (tmp_path / "out").exists()
    # Clips of the second file that are not selected need no persons: its errors are measured on others.
    few = FEW.model_copy(update={"families": ("part", "estimator_errors")})
    found, _ = measured([one], [trained[1], tmp_path / "empty.pkl"], tmp_path / "out", few, dry_run=True)
    assert found is None


def test_dry_run_estimates_the_time_and_writes_nothing(trained: tuple[Path, Path], tmp_path: Path) -> None:
    found, output = measured([str(trained[0])], [trained[1]], tmp_path / "dry", dry_run=True)
    assert found is None and not (tmp_path / "dry").exists()
    assert re.search(r"about \d+ (s|min|h).* in total, including damage .* but not the final intervals", output)


def test_plan_includes_costs_besides_forward_passes(trained: tuple[Path, Path], tmp_path: Path) -> None:
    settings = FEW.model_copy(update={"families": ("shifted", "targeted")})
    console = Console(file=io.StringIO())
    bench = prepare_bench(
        [str(trained[0])], [trained[1]], "one_test", settings, ENGINE, tmp_path, None, skip_bad=False, console=console
    )
    worker = Worker(runs.load_run(trained[0]), np.arange(3), bench.cache, skip_bad=False)
    costs = {task: worker.seconds_besides_network(task) for task in bench.tasks(bench.subjects[0])}
    of_kind = {(task.kind, task.condition.family, task.order.split(" ")[0]): cost for task, cost in costs.items()}
    assert of_kind["targeted", CLEAN, "layer"] > 0 == of_kind["targeted", CLEAN, "random"]
    # With so few clips, damage may cost less than the noise of the measurement.
    assert of_kind["answers", CLEAN, ""] == 0 <= of_kind["answers", "shifted", ""] < 0.1


def test_number_of_clips_in_t_sne_is_limited(
    report: tuple[Results, Path], trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(file=io.StringIO())
    bench = prepare_bench(
        [str(trained[0])], [trained[1]], "one_test", FEW, ENGINE, report[1], None, skip_bad=False, console=console
    )
    monkeypatch.setattr(robustness_tables, "MOST_SHOWN", 3)
    shown, features = robustness_tables.features_of(bench, [trained[0].name])
    every = bench.cache.read(bench.subjects[0], Task("answers", 0))["features"]
    assert shown.tolist() == [0, 6, 11]
    assert (features[trained[0].name] == every[shown]).all()


def other_estimator(path: Path, source: Path) -> Path:
    """Copy the file as if by an estimator named other: shifted, with jitter; clip40 has no person."""
    data = read_pickle(source)
    rng = np.random.default_rng(0)
    for clip in data["annotations"]:
        clip["keypoint"] = clip["keypoint"] + rng.normal((4, 0), 2, clip["keypoint"].shape).astype(np.float32)
        clip["estimator"] = "other"
    data["annotations"] = [
        without_persons(clip) if clip["frame_dir"] == "clip40" else clip for clip in data["annotations"][:47]
    ]
    data["split"]["one_test"].remove("clip47")
    write_pickle(path, data)
    return path


def test_other_estimators_are_matched_by_clip_and_their_errors_replayed(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    other = other_estimator(tmp_path / "other.pkl", trained[1])
    few = FEW.model_copy(update={"families": ("estimators", "estimator_errors")})
    found, _ = measured([str(trained[0])], [trained[1], other], tmp_path / "out", few)
    assert found is not None
    rows = found.tables["estimators"]
    assert [row["clips"] for row in rows] == [11] * 3
    assert [(row["family"], row["level"]) for row in rows] == [
        (CLEAN, None),
        (NOISE, 0.002),
        ("frames_deleted", 0.5),
    ]
    for row in rows:
        assert row["drop_low_to"] <= row["drop_to"] <= row["drop_high_to"] and len(row["each_to"]) in (1, 2)
    # The clip without a person in that file counts as a failure.
    there = found.answers[trained[0].name, 1, Condition(CLEAN)][0]
    assert there[4] == -1 and (there == -1).sum() == 1
    (errors,) = found.summary["estimator_errors"]
    assert errors["measured_on"].startswith("36 of clips that are not used for testing")
    # Jitter of 2 pixels in boxes about 250 pixels high: the central 68 % span 4 pixels.
    assert np.mean(errors["spread_of_displacement"]) == pytest.approx(4 / 260, rel=0.2)
    assert [row["level"] for row in found.tables["conditions"] if row["family"] == "estimator_errors"] == [0.5, 1, 2]
    assert "other" in (tmp_path / "out" / "estimators.csv").read_text(encoding="utf-8")


def test_methods_are_compared_on_every_estimator(trained: tuple[Path, Path], worse: Path, tmp_path: Path) -> None:
    other = other_estimator(tmp_path / "other.pkl", trained[1])
    few = FEW.model_copy(update={"families": ("estimators",)})
    given = [f"good={trained[0]}", f"bad={worse}"]
    found, _ = measured(given, [trained[1], other], tmp_path / "out", few)
    assert found is not None
    top1 = {(row["family"], row["method"]): row for row in found.tables["estimators"]}
    rows = found.tables["estimator_differences"]
    assert [(row["family"], row["method"], row["against"]) for row in rows] == [
        (family, "good", "bad") for family in (CLEAN, NOISE, "frames_deleted")
    ]
    for row in rows:
        for side in ("from", "to"):
            good, bad = (top1[row["family"], method][f"top1_{side}"] for method in ("good", "bad"))
            assert row[f"difference_{side}"] == pytest.approx(good - bad)
            assert row[f"low_{side}"] <= good - bad + 1e-9 and good - bad - 1e-9 <= row[f"high_{side}"]
    assert top1[NOISE, "good"]["spread_to"] is not None
    assert "good - bad" in (tmp_path / "out" / "robustness.html").read_text(encoding="utf-8")
    text = section(page("file_formats.md"), "Robustness")
    for name in ("estimators", "estimator_differences"):
        columns = ", ".join(f"`{column}`" for column in found.tables[name][0])
        assert f"| `{name}` | {columns} |" in text


def test_only_selected_families_are_measured(trained: tuple[Path, Path], tmp_path: Path) -> None:
    other = other_estimator(tmp_path / "other.pkl", trained[1])

    def found(*names: str) -> set[str]:
        settings = FEW.model_copy(update={"families": names})
        results, _ = measured([str(trained[0])], [trained[1], other], tmp_path / "out", settings)
        assert results is not None
        families = {condition.family for _, _, condition in results.answers if condition != Condition(CLEAN)}
        return families | {name for name in ("estimators", "targeted") if results.tables[name]}

    assert found("part") == {"part"}
    assert found("targeted") == {"targeted"}
    assert found("estimator_errors") == {"estimator_errors"}
    assert found("estimators") == {"estimators", "noise", "frames_deleted"}


def test_clips_are_those_of_the_test_split_or_of_the_split_named_all(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    content = read_pickle(trained[1])
    write_pickle(tmp_path / "all.pkl", content | {"split": content["split"] | {"all": ["clip1", "clip40"]}})
    (subject,) = read_subjects([str(trained[0])])
    for path, split, expected in (
        (trained[1], None, content["split"]["one_test"]),
        (trained[1], "all", [clip["frame_dir"] for clip in content["annotations"]]),
        (tmp_path / "all.pkl", "all", ["clip1", "clip40"]),
    ):
        (source,), _ = open_sources(subject, [path], split, limit=None, skip_bad=False)
        assert source.names == expected


def test_invalid_selections_are_errors(trained: tuple[Path, Path], tmp_path: Path) -> None:
    def refused(message: str, given: list[str] | None = None, data: Path | None = None, **options: Any) -> None:
        settings = options.pop("settings", FEW)
        with pytest.raises(UsageError, match=message):
            measured(given or [str(trained[0])], [data or trained[1]], tmp_path / "out", settings, **options)

    refused("nonsense.*unknown family of perturbations", settings=BenchSettings(families=("nonsense",)))
    refused("estimators: requires a second file", settings=BenchSettings(families=("estimators",)))
    refused(
        "identity_switches: does not apply to the skeletons of", settings=BenchSettings(families=("identity_switches",))
    )
    refused("given twice", [str(trained[0]), f"again={trained[0]}"])
    refused("not among the selected clips of split", clip="nobody")
    refused("file not found", data=tmp_path / "none.pkl")
    renamed = read_pickle(made_data(tmp_path / "renamed.pkl"))
    for clip in renamed["annotations"]:
        clip["frame_dir"] = f"x{clip['frame_dir']}"
    renamed["split"] = {}
    write_pickle(tmp_path / "renamed.pkl", renamed)
    with pytest.raises(UsageError, match="contains no clip of split"):
        measured([str(trained[0])], [trained[1], tmp_path / "renamed.pkl"], tmp_path / "out")
    same_file = trained[1].parent / ".." / trained[1].parent.name / trained[1].name
    with pytest.raises(UsageError, match="this file is given twice"):
        measured([str(trained[0])], [trained[1], same_file], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command_prints_a_table_and_json(trained: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["robustness", f"mine={trained[0]}", "--data", str(trained[1]), "--out", str(tmp_path / "out")]
    words += ["--only", "part", "--repeats", "1", "--steps", "2", "--limit", "6", "--device", "cpu"]
    words += ["--backend", "torch", "--precision", "fp32", "--no-figures"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "mine" in result.stdout and result.stdout.strip().endswith("robustness.html")
    page = (tmp_path / "out" / "robustness.html").read_text(encoding="utf-8")
    assert "each random damage is drawn once, seeded" in page
    record = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert record["clips"] == 6 and record["split"] == "one_test"
    wrong = CliRunner().invoke(app, [*words, "--noise-space", "nowhere"])
    assert wrong.exit_code == 2 and "--noise-space nowhere: must be 'camera' or 'model'" in wrong.output


def test_runs_in_folders_with_the_same_name_are_separate_methods(tmp_path: Path) -> None:
    for row in ("ratio=0.1", "ratio=0.9"):
        (tmp_path / row / "seed0").mkdir(parents=True)
        (tmp_path / row / "seed0" / run_folder.BEST).write_bytes(row.encode())
    rows = [str(tmp_path / row / "seed0") for row in ("ratio=0.1", "ratio=0.9")]
    assert [one.method for one in read_subjects(rows)] == ["ratio=0.1/seed0", "ratio=0.9/seed0"]
    assert [one.method for one in read_subjects(rows[:1])] == ["seed0"]
    files = [f"{row}/{run_folder.BEST}" for row in rows]
    assert [one.method for one in read_subjects(files)] == ["ratio=0.1/seed0-best", "ratio=0.9/seed0-best"]
    # Only METHOD groups runs; a run without it is never added to a group.
    assert [one.method for one in read_subjects([f"m={row}" for row in rows])] == ["m", "m"]
    assert [one.name for one in read_subjects([f"m={row}" for row in rows])] == [
        "m (ratio=0.1/seed0)",
        "m (ratio=0.9/seed0)",
    ]
    assert [one.method for one in read_subjects([f"seed0={rows[0]}", rows[1]])] == ["seed0", "ratio=0.9/seed0"]
