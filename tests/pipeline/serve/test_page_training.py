"""The loop of the page: a wrong answer is corrected, a recognizer is trained on it, and the answer is right."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.corrections.progress import RUN
from pipeline.serve.records import DONE
from recognition.packed import EVERYDAY
from test_support.networks.trained_run import LABEL_NAMES
from test_support.services.browser import opened, skip_reason
from test_support.services.running_service import RunningService
from test_support.services.served import served, settings_for

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.slow,
    pytest.mark.skipif(skip_reason() is not None, reason=str(skip_reason())),
]


def analyse(page: Any, path: Path) -> str:
    """Upload a clip for one answer per person, open its result, and return the id of its job."""
    page.get_by_label("Answers").select_option("one per person")
    page.set_input_files("input[data-for=videos]", str(path))
    row = page.locator(".job", has_text=path.name)
    row.locator(".state.done").wait_for()
    row.get_by_role("link").click()
    page.wait_for_selector(".overlay[data-persons='2']", state="attached")
    job: str = page.evaluate("location.hash").rpartition("/")[2]
    return job


def answers(service: RunningService, job: str) -> list[str]:
    persons = service.get(f"/v1/jobs/{job}/scene.json")["persons"]
    return [segment["label"] for person in persons if person["id"] is not None for segment in person["segments"]]


def test_a_misclassified_clip_is_classified_correctly_after_training_on_its_correction(
    browser: Any, words: tuple[str | Path, ...], walkers: Path, tmp_path: Path
) -> None:
    # A service of its own, because the training changes the default run.
    with RunningService(tmp_path / "data", *words) as service, opened(browser) as page:
        page.goto(f"http://{service.host}:{service.port}/")
        job = analyse(page, walkers)
        wrong = answers(service, job)
        right = next(name for name in LABEL_NAMES if name not in wrong)
        for direction in ("ArrowUp", "ArrowDown"):
            page.keyboard.press(direction)
            page.keyboard.press("]")
            page.keyboard.press(str(LABEL_NAMES.index(right) + 1))
        page.wait_for_selector("#saving[data-state=saved]", state="attached")
        corrected = service.get(f"/v1/jobs/{job}/corrections")["segments"]
        assert [one["label"] for one in corrected] == [right, right]

        page.get_by_role("link", name="Training").click()
        page.get_by_text("2 segments in 1 clip.").wait_for()
        page.get_by_label("Epochs").fill("12")
        page.get_by_role("button", name="Train", exact=True).click()
        use = page.get_by_role("button", name="Use the new recognizer")
        # Next to other work, a training takes longer than anything else that a page waits for.
        use.wait_for(timeout=240_000)
        scores = page.locator("table.scores tr", has_text="Your corrections").inner_text()
        assert "0 %" in scores and "100 %" in scores
        # This recognizer has no classifier of descriptors, so all curves are its own.
        legends = " ".join(page.locator(".curves .legend").all_inner_texts())
        assert "train loss" in legends and "train top1" in legends
        use.click()
        page.locator(".training-list", has_text="in use").wait_for()

        page.get_by_role("link", name="Clips", exact=True).click()
        again = analyse(page, Path(shutil.copy(walkers, tmp_path / "again.mp4")))
        assert answers(service, again) == [right, right]
        page.keyboard.press("]")
        assert page.locator(".inspector h2").first.inner_text() == right


def test_a_service_with_exported_recognizers_alone_says_why_none_is_trained(browser: Any, tmp_path: Path) -> None:
    exported, job = tmp_path / "exported", "0123456789abcdef"
    exported.mkdir()
    (exported / "model.onnx").write_bytes(b"")
    with served(settings_for(tmp_path / "data", runs=(exported,))) as ((host, port), service), opened(browser) as page:
        service.store.add(job, name="clip", run="exported", settings={}, source="x.mp4")
        service.store.claim()
        service.store.finish(job, "done")
        service.store.correct(job, {"segments": []}, 0, lessons=2)
        page.goto(f"http://{host}:{port}/#/training")
        page.get_by_text("2 segments", exact=True).wait_for()
        page.get_by_text("An exported recognizer cannot be trained").wait_for()
        assert page.get_by_role("button", name="Train", exact=True).is_disabled()


def test_the_accuracy_of_the_network_alone_is_not_shown_as_that_of_the_recognizer(browser: Any, tmp_path: Path) -> None:
    name = "0123456789abcdef"
    with served(settings_for(tmp_path)) as ((host, port), service), opened(browser) as page:
        run = service.trainings.folder(name) / RUN
        run.mkdir(parents=True)
        settings = {"training": {"phase1_epochs": 1, "phase2_epochs": 0}, "data": {"descriptors": True}}
        (run / "settings.yaml").write_text(json.dumps(settings))
        (run / "split.json").write_text(json.dumps({"training": ["a", "b"]}))
        epoch = {"kind": "epoch", "epoch": 0, "train_loss": 1.5, "train_top1": 0.0}
        (run / "metrics.jsonl").write_text(json.dumps(epoch) + "\n")
        service.store.add_training(name, EVERYDAY, [], {})
        service.store.set_training(name, DONE)
        page.goto(f"http://{host}:{port}/#/training/{name}")
        page.get_by_text("Training loss is that of the network alone.").wait_for()
        assert page.locator(".curves figcaption").all_inner_texts() == ["Loss"]
