"""Playing and correcting a clip in a real browser: speed, loops, merging segments, joining persons, choosing lanes."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from test_support.networks.made_runs import SIZE
from test_support.services.browser import opened, skip_reason
from test_support.services.open_page import address, analysed, open_clip, restored, saved, segments_of
from test_support.services.running_service import RunningService
from test_support.videos.made_video import made_frame

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(skip_reason() is not None, reason=str(skip_reason())),
]

RATE = 25
# Start and end of the segments that the tests edit, in seconds.
SPANS = {"a": (0.4, 0.8), "b": (0.8, 1.2), "c": (1.6, 2.0)}


@pytest.fixture(scope="module")
def job(service: RunningService, walkers: Path) -> str:
    """A finished clip of two persons who are both seen all the time."""
    return analysed(service, walkers, "&windows=0.8&per_person=true&explain=true&threshold=0")


@pytest.fixture
def page(browser: Any, service: RunningService) -> Iterator[Any]:
    with opened(browser) as page:
        page.goto(address(service))
        yield page


def set_segments(service: RunningService, job: str) -> list[dict[str, Any]]:
    """Replace the segments of a clip by those of `SPANS`, all of one person, and return them."""
    content = service.get(f"/v1/jobs/{job}/corrections")
    first = content["segments"][0]
    content["segments"] = [{**first, "id": name, "start": start, "end": end} for name, (start, end) in SPANS.items()]
    assert service.ask("PUT", f"/v1/jobs/{job}/corrections", content, {"If-Match": "*"}).status == 200
    return segments_of(service, job)


def test_a_segment_is_merged_with_the_next_one(page: Any, service: RunningService, job: str) -> None:
    def edit() -> None:
        before = set_segments(service, job)
        open_clip(page, service, job)
        page.keyboard.press("]")
        page.keyboard.press("m")
        saved(page)
        merged, last = segments_of(service, job)
        assert merged == {**before[0], "end": SPANS["b"][1], "source": "user", "reviewed": True} and last == before[2]
        # Also with a gap, by the button, and not beyond the last one.
        page.get_by_role("button", name="Merge").click()
        saved(page)
        (whole,) = segments_of(service, job)
        assert (whole["start"], whole["end"]) == (SPANS["a"][0], SPANS["c"][1])
        page.keyboard.press("m")
        page.get_by_text("There is no later segment of this person to merge with.").wait_for()
        for _ in range(2):
            page.keyboard.press("z")
        saved(page)
        assert segments_of(service, job) == before

    restored(service, job, edit)


# Keeps the times of all frames that are shown.
WATCH = """
() => {
  window.shown = [];
  const video = document.querySelector('video');
  const look = (_, { mediaTime }) => {
    window.shown.push(mediaTime);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}
"""
# Whether playback has jumped back a number of times.
HAS_WRAPPED = "(times) => window.shown.filter((time, i) => i && time < window.shown[i - 1]).length >= times"


def test_a_segment_is_repeated_until_the_loop_ends(page: Any, service: RunningService, job: str) -> None:
    def edit() -> None:
        set_segments(service, job)
        open_clip(page, service, job)
        page.keyboard.press("]")
        page.wait_for_function(f"() => Number(document.querySelector('.overlay').dataset.time) >= {SPANS['a'][0]}")
        page.keyboard.press("r")
        page.wait_for_selector("button[aria-label='Repeat the segment'][aria-pressed=true]")
        page.evaluate(WATCH)
        page.keyboard.press("Space")
        page.wait_for_function(HAS_WRAPPED, arg=2)
        shown = page.evaluate("window.shown")
        starts = [time for before, time in pairwise(shown) if time < before]
        assert starts == pytest.approx([SPANS["a"][0]] * len(starts), abs=1.5 / RATE)
        # A busy machine may show the end late, but not the segments after the next one.
        assert max(shown) < SPANS["c"][0]

        # The loop follows the selection.
        for _ in range(2):
            page.keyboard.press("]")
        page.evaluate("window.shown = []")
        page.keyboard.press("Space")
        page.wait_for_function(f"() => window.shown.filter((time) => time >= {SPANS['c'][0]}).length > 2")
        page.wait_for_function(HAS_WRAPPED, arg=1)
        assert page.evaluate("window.shown.at(-1)") >= SPANS["c"][0] - 0.5 / RATE
        # Without it, the video plays to its end.
        page.keyboard.press("r")
        page.wait_for_selector("button[aria-label='Repeat the segment'][aria-pressed=false]")
        page.wait_for_function("() => document.querySelector('video').ended")

    restored(service, job, edit)


def test_the_speed_is_chosen_and_changed_by_keys(page: Any, service: RunningService, job: str) -> None:
    open_clip(page, service, job)
    speed = page.get_by_label("Speed", exact=True)

    def rates() -> tuple[float, str]:
        return page.evaluate("document.querySelector('video').playbackRate"), speed.input_value()

    assert rates() == (1, "1")
    speed.select_option("0.25")
    assert rates() == (0.25, "0.25")
    page.locator("h1").click()
    # So that the short clip does not end meanwhile.
    page.evaluate("document.querySelector('video').loop = true")
    # Played at once at normal speed; again: faster, up to four times.
    page.keyboard.press("l")
    assert rates() == (1, "1")
    page.wait_for_function("() => Number(document.querySelector('.overlay').dataset.time) > 0.2")
    page.keyboard.press("k")
    page.get_by_role("button", name="Play", exact=True).wait_for()
    page.keyboard.press("l")
    for rate in (2, 4, 4):
        page.get_by_role("button", name="Pause", exact=True).wait_for()
        page.keyboard.press("l")
        assert rates() == (rate, str(rate))
    page.keyboard.press("k")
    page.get_by_role("button", name="Play", exact=True).wait_for()
    page.keyboard.press("End")
    page.wait_for_function("() => Number(document.querySelector('.overlay').dataset.time) > 2")
    # Backwards to the first frame, where playback stops.
    page.keyboard.press("j")
    page.wait_for_function("() => Number(document.querySelector('.overlay').dataset.time) === 0")
    page.get_by_role("button", name="Play", exact=True).wait_for()


def test_the_overlay_follows_seeks_to_frames_that_the_browser_does_not_announce(
    page: Any, service: RunningService, job: str
) -> None:
    # As browsers do with a frame that comes before the page has asked for the next one.
    page.add_init_script("""
        const announce = HTMLVideoElement.prototype.requestVideoFrameCallback;
        HTMLVideoElement.prototype.requestVideoFrameCallback = function (callback) {
            return announce.call(this, (...given) =>
                window.isSilent ? this.requestVideoFrameCallback(callback) : callback(...given));
        };
    """)
    page.reload()
    open_clip(page, service, job)
    page.locator("h1").click()
    page.evaluate("window.isSilent = true")
    for key, shown in (("End", "> 2.3"), ("Home", "=== 0"), (".", "=== 0.04"), (".", "=== 0.08")):
        page.keyboard.press(key)
        page.wait_for_function(f"() => Number(document.querySelector('.overlay').dataset.time) {shown}")


def write_absence(path: Path) -> Path:
    """Write a video in which a person on the left leaves, and later one on the right arrives."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "18", "preset": "ultrafast"})
        (stream.height, stream.width), stream.pix_fmt = SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        for number in range(100):
            both, wall = (made_frame(number / RATE, SIZE, persons) for persons in (2, 0))
            left, right = np.array_split(both, 2, axis=1)
            empty_left, empty_right = np.array_split(wall, 2, axis=1)
            parts = (left if number < 40 else empty_left, right if number >= 60 else empty_right)
            frame = av.VideoFrame.from_ndarray(np.concatenate(parts, axis=1), format="bgr24")
            frame.pts, frame.time_base = number, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_person_who_was_lost_and_found_again_is_joined(page: Any, service: RunningService, tmp_path: Path) -> None:
    job = analysed(service, write_absence(tmp_path / "absence.mp4"), "&windows=0.8&per_person=true&threshold=0")
    open_clip(page, service, job)
    before = segments_of(service, job)
    first, second = (one["id"] for one in service.get(f"/v1/jobs/{job}/scene.json")["persons"] if one["id"] is not None)
    assert {one["person"] for one in before} == {first, second}
    page.get_by_role("button", name="Join").click()
    page.get_by_text(f"Person {second} is now part of person {first}.").wait_for()
    saved(page)
    content = service.get(f"/v1/jobs/{job}/corrections")
    assert content["identities"] == [{"kind": "join", "from": second, "to": first}]
    assert content["segments"] == [{**one, "person": first} for one in before]
    assert page.locator(".gutter .person").count() == 1
    page.keyboard.press("z")
    saved(page)
    assert segments_of(service, job) == before and page.locator(".gutter .person").count() == 2


def test_two_persons_who_are_seen_together_are_not_joined(page: Any, service: RunningService, job: str) -> None:
    def edit() -> None:
        before = service.get(f"/v1/jobs/{job}/corrections")
        open_clip(page, service, job)
        page.get_by_role("button", name="Join").click()
        page.get_by_text("Persons 0 and 1 are both seen from").wait_for()
        assert page.locator(".gutter .person").count() == 2
        assert service.get(f"/v1/jobs/{job}/corrections")["identities"] == before["identities"] == []

    restored(service, job, edit)


def test_the_lane_of_a_person_who_is_chosen_by_key_is_shown(browser: Any, service: RunningService, job: str) -> None:
    scroll = "document.querySelector('.lane-scroller').scrollTop"
    # So low that the lanes do not fit.
    with opened(browser, viewport={"width": 1280, "height": 520}) as page:
        open_clip(page, service, job)
        assert page.evaluate(scroll) == 0
        page.keyboard.press("ArrowDown")
        page.wait_for_selector(".person[aria-pressed=true][aria-label='Person 1']")
        assert page.evaluate(scroll) > 0
        page.keyboard.press("ArrowUp")
        page.wait_for_selector(".person[aria-pressed=true][aria-label='Person 0']")
        assert page.evaluate(scroll) == 0
