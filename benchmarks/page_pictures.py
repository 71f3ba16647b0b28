"""Pictures of the page of `skelpipe serve` in all of its states, for the documentation and to look at.

    python benchmarks/page_pictures.py --run runs/demo/run --video VIDEO [--out runs/pictures]

Starts a service in a folder of its own, processes the video and a damaged one, corrects a part, and trains. For every
state there is a picture for two widths (1280 and 400 pixels) and both themes: STATE_WIDTH_THEME.webp. The run of
`make demo` and a video of rendered people give the pictures of docs/serving.md.
"""

import argparse
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from test_support.services.browser import missing_browser, opened, running_browser
from test_support.services.running_service import RunningService

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS, THEMES, HEIGHT = (1280, 400), ("light", "dark"), 800
# Of the pictures, from 0 to 100.
QUALITY = 82
# Milliseconds in which animations end and pictures of the video arrive.
SETTLED = 900
SETTINGS = "&windows=3&per_person=true&explain=true"


class Camera:
    """Takes pictures of the page.

    Args:
        browser: The browser.
        service: The running service.
        out: Folder for the pictures.
    """

    def __init__(self, browser: "Browser", service: RunningService, out: Path) -> None:
        self._browser, self._service, self._out = browser, service, out

    def take(self, state: str, route: str, act: "Callable[[Page], object]" = lambda page: None) -> None:
        """Take the pictures of one state.

        Args:
            state: Its name.
            route: Part of the address after "#".
            act: What to do on the page before the picture.
        """
        for width, theme in product(WIDTHS, THEMES):
            with opened(self._browser, color_scheme=theme, viewport={"width": width, "height": HEIGHT}) as page:
                page.goto(f"http://{self._service.host}:{self._service.port}/#{route}")
                page.wait_for_selector("#view > *")
                act(page)
                page.wait_for_timeout(SETTLED)
                picture = np.frombuffer(page.screenshot(full_page=width < HEIGHT), np.uint8)
            path = self._out / f"{state}_{width}_{theme}.webp"
            cv2.imwrite(str(path), cv2.imdecode(picture, cv2.IMREAD_COLOR), [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
            print(path, f"{path.stat().st_size / 1000:.0f} kB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="recognizer")
    parser.add_argument("--video", type=Path, required=True, help="video with several people")
    parser.add_argument("--out", type=Path, default=Path("runs/pictures"), help="folder for the pictures")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of the training")
    given = parser.parse_args()
    missing = missing_browser()
    if missing is not None:
        raise SystemExit(missing)
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        words = ("--run", given.run.absolute(), "--device", "cpu")
        with RunningService(Path(folder) / "data", *words) as service, running_browser() as browser:
            _take_all(Camera(browser, service, given.out), service, given.video, given.epochs)


def _take_all(camera: Camera, service: RunningService, video: Path, epochs: int) -> None:
    # The first job waits for the networks.
    service.finished(service.ask("POST", "/v1/jobs?name=broken.mp4", b"no video" * 500).json()["id"])
    for job in service.get("/v1/jobs")["jobs"]:
        service.ask("DELETE", f"/v1/jobs/{job['id']}")
    camera.take("empty", "/", lambda page: page.get_by_text("actions:").wait_for())
    job = service.submit(video, f"{SETTINGS}&threshold=0")
    for _, _, data in service.events(f"/v1/jobs/{job}/events"):
        if data["stage"] == "extracting" and data["frames_done"]:
            break
    camera.take("running", f"/job/{job}")
    broken = service.ask("POST", "/v1/jobs?name=broken.mp4", b"no video" * 500).json()["id"]
    service.finished(job)
    service.finished(broken)
    camera.take("failed", f"/job/{broken}")
    unknown = service.submit(video, f"{SETTINGS}&threshold=1")
    service.finished(unknown)
    camera.take("unknown", f"/job/{unknown}", _open)
    camera.take("review", "/review", lambda page: page.wait_for_selector("table.review a"))
    _confirm(service, job, first=1)
    camera.take("viewer", f"/job/{job}", _show_attention)
    _confirm(service, job, first=0)
    settings = {"training.phase1_epochs": epochs, "training.phase2_epochs": 0}
    training = service.ask("POST", "/v1/trainings", {"jobs": [job], "settings": settings}).json()["id"]
    for _, kind, data in service.events("/v1/events"):
        if kind == "training" and data["id"] == training and data["state"] not in ("queued", "running"):
            break
    camera.take("training", f"/training/{training}", lambda page: page.get_by_text("Comparison").wait_for())


def _open(page: "Page") -> None:
    page.wait_for_selector(".overlay[data-persons]:not([data-persons=''])", state="attached")
    page.keyboard.press("]")


def _show_attention(page: "Page") -> None:
    _open(page)
    page.keyboard.press("]")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("h")


def _confirm(service: RunningService, job: str, *, first: int) -> None:
    """Confirm all segments of the persons from the `first` one on."""
    address = f"/v1/jobs/{job}/corrections"
    document = service.get(address)
    persons = sorted({segment["person"] for segment in document["segments"]})[first : first + 2]
    for segment in document["segments"]:
        segment["reviewed"] = segment["reviewed"] or segment["person"] in persons
    service.ask("PUT", address, document, {"If-Match": "*"})


if __name__ == "__main__":
    main()
