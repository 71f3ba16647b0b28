"""What tests of the page do with a running service and a window of the browser."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from test_support.services.running_service import RunningService


def address(service: "RunningService", route: str = "") -> str:
    """Return the address of the page, or of a place in it."""
    return f"http://{service.host}:{service.port}/{route}"


def analysed(service: "RunningService", path: Path, query: str) -> str:
    """Submit a video with settings, wait until it is done, and return the id of its job."""
    job = service.submit(path, query)
    assert service.finished(job)["state"] == "done"
    return job


def open_clip(page: "Page", service: "RunningService", job: str) -> None:
    """Open a clip, and wait until its first frame and its skeletons are shown."""
    page.goto(address(service, f"#/job/{job}"))
    page.wait_for_selector(".overlay[data-persons]:not([data-persons=''])", state="attached")


def step(page: "Page", key: str) -> None:
    """Press a key that shows another frame, and wait for it."""
    before = page.get_attribute(".overlay", "data-time")
    page.keyboard.press(key)
    page.wait_for_function("(before) => document.querySelector('.overlay').dataset.time !== before", arg=before)


def saved(page: "Page") -> None:
    """Wait until all edits are saved."""
    page.wait_for_selector("#saving[data-state=saved]", state="attached")


def segments_of(service: "RunningService", job: str) -> list[dict[str, Any]]:
    """Return the segments of a clip as the service has stored them."""
    found: list[dict[str, Any]] = service.get(f"/v1/jobs/{job}/corrections")["segments"]
    return found


def restored(service: "RunningService", job: str, change: Callable[[], None]) -> None:
    """Run something that edits a clip, and take its edits back for the next test."""
    before = service.get(f"/v1/jobs/{job}/corrections")
    try:
        change()
    finally:
        service.ask("PUT", f"/v1/jobs/{job}/corrections", before, {"If-Match": "*"})
