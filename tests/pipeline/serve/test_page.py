"""The page in a real browser, in front of a running service."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from test_support.networks.trained_run import LABEL_NAMES
from test_support.services.browser import opened, skip_reason
from test_support.services.open_page import address, analysed, open_clip, restored, saved, segments_of, step
from test_support.services.running_service import RunningService
from test_support.services.served import served, settings_for
from test_support.videos.made_video import made_frame

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(skip_reason() is not None, reason=str(skip_reason())),
]

# Size of the clip whose frames carry their number: the figures, and below them one square per bit.
SIZE, BITS, SQUARE = (96, 128), 6, 16


@pytest.fixture
def page(browser: Any, service: RunningService) -> Iterator[Any]:
    with opened(browser) as page:
        page.goto(address(service))
        yield page


@pytest.fixture(scope="module")
def job(service: RunningService, walkers: Path) -> str:
    """A finished clip of two persons with windows and attention."""
    return analysed(service, walkers, "&windows=0.8&per_person=true&explain=true&threshold=0")


def test_a_dropped_video_is_uploaded_analysed_and_opened(page: Any, service: RunningService, walkers: Path) -> None:
    page.get_by_role("heading", name="Who does what, and when").wait_for()
    page.set_input_files("input[data-for=videos]", str(walkers))
    row = page.locator(".job", has_text="walkers.mp4").first
    row.locator(".state.done").wait_for()
    row.get_by_role("link").click()
    page.wait_for_selector(".overlay[data-persons='2']", state="attached")
    assert page.locator(".gutter .person").count() == 2
    newest = service.get("/v1/jobs?limit=1")["jobs"][0]
    assert newest["name"] == "walkers.mp4" and newest["settings"]["windows"] == 3


def drop(page: Any, *paths: Path) -> None:
    """Drop files and folders onto the middle of the page, as a file manager does."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        if kind == "drop":
            # The page may change below the pointer: the drop then enters another element first.
            page.evaluate("""() => {
                const cover = document.body.appendChild(document.createElement("div"));
                Object.assign(cover.style, {position: "fixed", inset: 0});
                document.addEventListener("drop", () => cover.remove(), {once: true});
            }""")
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 700, "y": 400, "data": data})


def test_videos_of_a_dropped_folder_and_its_folders_are_uploaded(
    page: Any, service: RunningService, walkers: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "session"
    (folder / "camera 2").mkdir(parents=True)
    (folder / "notes.txt").write_text("text")
    for name in ("left.mp4", "camera 2/right.mp4"):
        shutil.copy(walkers, folder / name)
    page.get_by_role("heading", name="Who does what, and when").wait_for()
    drop(page, folder, Path(shutil.copy(walkers, tmp_path / "single.mp4")))
    page.get_by_text("1 of 4 files are not videos").wait_for()
    for name in ("left.mp4", "right.mp4", "single.mp4"):
        page.locator(".job", has_text=name).locator(".state.done").wait_for()


def test_the_page_tells_what_the_recognizer_knows_as_soon_as_it_is_loaded(
    browser: Any, tmp_path: Path, words: tuple[str | Path, ...]
) -> None:
    with RunningService(tmp_path / "data", *words) as service, opened(browser) as page:
        page.goto(address(service))
        page.get_by_text("is being loaded").wait_for()
        page.get_by_text(f"knows {len(LABEL_NAMES)} actions: {', '.join(LABEL_NAMES)}.").wait_for()


def test_an_exported_recognizer_is_offered_neither_for_attention_nor_for_training(browser: Any, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "model.onnx").write_bytes(b"")
    settings = settings_for(tmp_path / "data")
    settings = replace(settings, runs=(exported, *settings.runs))
    with served(settings) as ((host, port), _), opened(browser) as page:
        page.goto(f"http://{host}:{port}/")
        attention, run = page.get_by_label("Attention"), page.get_by_label("Recognizer")
        run.locator("option").nth(1).wait_for(state="attached")
        assert run.input_value() == "exported" and attention.is_disabled()
        run.select_option("everyday")
        attention.check()
        run.select_option("exported")
        assert attention.is_disabled() and not attention.is_checked()
        page.get_by_role("link", name="Training").click()
        start = page.get_by_label("Start from").locator("option")
        start.first.wait_for(state="attached")
        assert start.all_inner_texts() == ["everyday"]


def test_what_is_no_video_is_refused_before_and_after_the_upload(page: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "broken.mp4").write_bytes(b"this is no video" * 100)
    page.set_input_files("input[data-for=videos]", str(tmp_path / "notes.txt"))
    page.get_by_role("alert").filter(has_text="no video").wait_for()
    page.set_input_files("input[data-for=videos]", str(tmp_path / "broken.mp4"))
    row = page.locator(".job", has_text="broken.mp4")
    row.locator(".state.failed").wait_for()
    row.get_by_role("link").click()
    assert page.locator(".unfinished .problem").inner_text() == row.locator(".detail").inner_text() != ""


def test_older_clips_are_listed_page_by_page_with_the_keyboard(browser: Any, tmp_path: Path) -> None:
    with served(settings_for(tmp_path / "data")) as ((host, port), service), opened(browser) as page:
        for number in range(230):
            service.store.add(f"{number:016x}", name=f"clip {number}", run="everyday", settings={}, source="x.mp4")
        page.goto(f"http://{host}:{port}/")
        rows, more = page.locator(".job"), page.get_by_role("button", name="Older clips")
        more.wait_for()
        assert rows.count() == 100 and rows.first.locator(".job-name").inner_text() == "clip 229"
        # The tab key leads from the last clip to the button.
        rows.nth(99).locator("button").focus()
        page.keyboard.press("Tab")
        for first, count in (("clip 129", 200), ("clip 29", 230)):
            assert page.evaluate("document.activeElement.textContent") == "Older clips"
            page.keyboard.press("Enter")
            page.wait_for_function("(name) => document.activeElement.textContent.startsWith(name)", arg=first)
            assert rows.count() == count and len({*rows.locator(".job-name").all_inner_texts()}) == count
            if count < 230:
                more.focus()
        assert not more.is_visible()
        # They stay in the list when it is loaded again.
        page.evaluate("location.hash = '#/training'")
        page.get_by_text("Confirm or correct some segments first").wait_for()
        assert rows.count() == 230


def test_names_are_text_and_never_markup(page: Any, service: RunningService) -> None:
    page.evaluate(
        """async () => {
        const file = new File([new Uint8Array(64)], '<img src=x onerror=alert(1)>.mp4');
        const { JobList } = await import('/page/views/jobs.js');
        const { Uploads } = await import('/page/uploads.js');
        const uploads = new Uploads();
        uploads.list.push({ id: '1', name: file.name, file, state: 'failed', share: 0, error: '<b>bad</b>',
                            settings: {}, abort: new AbortController() });
        const list = new JobList({ jobs: new Map(), addEventListener() {} }, uploads);
        document.body.append(Object.assign(document.createElement('div'), { id: 'made' }));
        document.getElementById('made').append(list.element);
        }"""
    )
    row = page.locator("#made .job")
    assert "<img src=x onerror=alert(1)>.mp4" in row.inner_text() and "<b>bad</b>" in row.inner_text()
    assert row.locator("img, b").count() == 0


def test_everything_can_be_done_by_keyboard(page: Any, service: RunningService, job: str) -> None:
    def edit() -> None:
        open_clip(page, service, job)
        first = segments_of(service, job)[0]
        other = next(n for n, name in enumerate(LABEL_NAMES) if name != first["label"])
        page.keyboard.press("]")
        page.keyboard.press(str(other + 1))
        saved(page)
        after = segments_of(service, job)[0]
        assert (after["label"], after["reviewed"], after["source"]) == (LABEL_NAMES[other], True, "user")
        page.keyboard.press("z")
        saved(page)
        assert segments_of(service, job)[0] == first
        page.keyboard.press("Shift+Z")
        saved(page)
        assert segments_of(service, job)[0]["label"] == LABEL_NAMES[other]
        # A class of one's own, typed and confirmed.
        page.keyboard.press("c")
        page.keyboard.type("juggle")
        page.keyboard.press("Enter")
        saved(page)
        assert segments_of(service, job)[0]["label"] == "juggle"
        assert service.get(f"/v1/jobs/{job}/corrections")["classes"] == ["juggle"]
        # Split in the middle, reject the second part.
        count = len(segments_of(service, job))
        for _ in range(3):
            step(page, ".")
        page.keyboard.press("s")
        page.keyboard.press("]")
        page.keyboard.press("x")
        saved(page)
        own = sorted(
            (one for one in segments_of(service, job) if one["person"] == first["person"]), key=lambda one: one["start"]
        )
        assert len(segments_of(service, job)) == count + 1
        assert own[1]["rejected"] and own[1]["start"] == own[0]["end"]
        # Help opens and closes; the other person is one key away.
        page.keyboard.press("?")
        page.get_by_role("dialog").get_by_text("Split at the playhead").wait_for()
        page.keyboard.press("Escape")
        page.keyboard.press("ArrowDown")
        page.wait_for_selector(".person[aria-pressed=true][aria-label='Person 1']")

    restored(service, job, edit)


def test_a_clip_opens_at_a_person_with_segments(browser: Any, service: RunningService, job: str) -> None:
    def edit() -> None:
        content = service.get(f"/v1/jobs/{job}/corrections")
        # Person 0 was seen too briefly for an action.
        content["segments"] = [one for one in content["segments"] if one["person"] == 1]
        assert service.ask("PUT", f"/v1/jobs/{job}/corrections", content, {"If-Match": "*"}).status == 200
        # So low that the lanes do not fit.
        with opened(browser, viewport={"width": 1280, "height": 520}) as page:
            open_clip(page, service, job)
            page.wait_for_selector(".person[aria-pressed=true][aria-label='Person 1']")
            assert page.evaluate("document.querySelector('.lane-scroller').scrollTop") > 0
            page.keyboard.press("ArrowUp")
            page.wait_for_selector(".person[aria-pressed=true][aria-label='Person 1']", state="detached")
            assert page.locator(".inspector h2").first.inner_text() == "No segment here"
            page.keyboard.press("]")
            page.wait_for_selector(".person[aria-pressed=true][aria-label='Person 1']")
            assert page.locator(".inspector h2").first.inner_text() == content["segments"][0]["label"]

    restored(service, job, edit)


def test_every_control_is_reached_with_the_tab_key(page: Any, service: RunningService, job: str) -> None:
    open_clip(page, service, job)
    names = set()
    for _ in range(70):
        page.keyboard.press("Tab")
        names.add(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"
            )
        )
    expected = {"Play", "Next frame", "Speed", "Undo", "Playhead", "Find or add a class", "Other person", "Keys"}
    assert expected <= names


def test_edges_are_dragged_and_saved(page: Any, service: RunningService, job: str) -> None:
    def edit() -> None:
        open_clip(page, service, job)
        box = page.locator("canvas.lanes").bounding_box()
        before = segments_of(service, job)[0]
        duration = service.get(f"/v1/jobs/{job}/scene.json")["video"]["duration"]
        x = box["x"] + before["start"] / duration * box["width"] + 1
        y = box["y"] + 14
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + box["width"] * 0.4 / duration, y, steps=4)
        page.mouse.up()
        saved(page)
        after = segments_of(service, job)[0]
        assert after["start"] == pytest.approx(before["start"] + 0.4, abs=0.03) and after["end"] == before["end"]
        assert after["source"] == "user"

    restored(service, job, edit)


def test_swapped_persons_change_their_names_from_then_on(page: Any, service: RunningService, job: str) -> None:
    def edit() -> None:
        open_clip(page, service, job)
        page.get_by_role("button", name="Swap from here").click()
        saved(page)
        content = service.get(f"/v1/jobs/{job}/corrections")
        assert content["identities"] == [{"kind": "swap", "a": 0, "b": 1, "time": 0}]
        labels = {one["id"]: one["person"] for one in content["segments"]}
        original = service.get(f"/v1/jobs/{job}/scene.json")["persons"]
        for person in original:
            for one in person["segments"]:
                assert labels[one["id"]] == 1 - person["id"]

    restored(service, job, edit)


def test_the_review_shows_no_percentage_after_unknown(page: Any, service: RunningService, walkers: Path) -> None:
    analysed(service, walkers, "&windows=0.8&per_person=true&threshold=1")
    page.goto(address(service, "#/review"))
    row = page.locator("table.review tr", has_text="unknown").first
    assert row.locator(".certainty").inner_text().strip() == ""


def test_two_windows_do_not_overwrite_each_other(browser: Any, page: Any, service: RunningService, job: str) -> None:
    def edit() -> None:
        open_clip(page, service, job)
        with opened(browser) as other:
            open_clip(other, service, job)
            other.keyboard.press("]")
            other.keyboard.press("Enter")
            saved(other)
        page.keyboard.press("]")
        page.keyboard.press("x")
        page.get_by_role("alertdialog").get_by_role("button", name="Show those").click()
        saved(page)
        assert segments_of(service, job)[0]["reviewed"] and not segments_of(service, job)[0]["rejected"]
        page.keyboard.press("x")
        saved(page)
        assert segments_of(service, job)[0]["rejected"]

    restored(service, job, edit)


def test_edits_without_a_connection_are_saved_later(page: Any, service: RunningService, job: str) -> None:
    def edit() -> None:
        open_clip(page, service, job)
        page.context.set_offline(True)
        page.keyboard.press("]")
        page.keyboard.press("x")
        page.wait_for_selector("#saving[data-state=waiting]")
        page.get_by_role("alert").filter(has_text="does not answer").wait_for()
        assert not segments_of(service, job)[0]["rejected"]
        page.context.set_offline(False)
        saved(page)
        assert segments_of(service, job)[0]["rejected"]

    restored(service, job, edit)


def test_unknown_actions_are_named_so(page: Any, service: RunningService, walkers: Path) -> None:
    open_clip(page, service, analysed(service, walkers, "&windows=0.8&per_person=true&threshold=1"))
    page.keyboard.press("]")
    assert page.locator(".inspector h2").first.inner_text() == "unknown"
    assert page.locator(".class[aria-pressed=true] .class-name").inner_text() == "unknown"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_narrow_screen(browser: Any, service: RunningService, job: str, scheme: str) -> None:
    with opened(browser, viewport={"width": 400, "height": 800}, color_scheme=scheme) as page:
        for route in ("", f"#/job/{job}", "#/review", "#/training"):
            page.goto(address(service, route))
            page.wait_for_selector("#view > *")
            if "job" in route:
                page.wait_for_selector(".workspace")
            assert page.evaluate("document.documentElement.scrollWidth") <= 400, route
            # Text contrasts with what is behind it in both themes.
            ink, paper = page.evaluate(
                "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
            )
            assert contrast(ink, paper) > 7


def contrast(ink: str, paper: str) -> float:
    """Contrast of two colours, as in the accessibility guidelines (WCAG 2, relative luminance)."""

    def luminance(colour: str) -> float:
        channels = np.array([float(one) for one in colour.strip("rgb()").split(",")]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    bright, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def write_numbered_clip(path: Path, times: np.ndarray) -> Path:
    """Write two figures above squares that show the number of each frame, at given times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "18", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = SIZE[0] + SQUARE, SIZE[1], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90000)
        for number, time in enumerate(times):
            squares = [255 if number >> bit & 1 else 0 for bit in range(BITS)]
            row = np.repeat(np.array([*squares, *[0] * (SIZE[1] // SQUARE - BITS)], np.uint8), SQUARE)
            strip = np.repeat(np.repeat(row[None], SQUARE, 0)[..., None], 3, 2)
            frame = av.VideoFrame.from_ndarray(np.concatenate([made_frame(time, SIZE, 2), strip]), format="bgr24")
            frame.pts, frame.time_base = round(time / stream.codec_context.time_base), stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# For every frame of the video: the number that the picture shows, and the time of the skeletons above it.
WATCH = """
() => {
  const video = document.querySelector('video');
  const overlay = document.querySelector('.overlay');
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  window.pairs = [];
  const look = () => {
    context.drawImage(video, 0, 0);
    let number = 0;
    for (let bit = 0; bit < BITS; bit++) {
      const [grey] = context.getImageData((bit + 0.5) * SQUARE, canvas.height - SQUARE / 2, 1, 1).data;
      if (grey > 127) number += 2 ** bit;
    }
    window.pairs.push([number, Number(overlay.dataset.time)]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}
""".replace("BITS", str(BITS)).replace("SQUARE", str(SQUARE))


def test_the_overlay_belongs_to_the_frame_shown_at_a_variable_rate(
    page: Any, service: RunningService, tmp_path: Path
) -> None:
    random = np.random.default_rng(5)
    stamps = np.concatenate([[0], np.cumsum(random.choice([1, 2, 5, 9], 47))]) / 30
    clip = write_numbered_clip(tmp_path / "numbered.mp4", stamps)
    job = analysed(service, clip, "&windows=1&per_person=true")
    open_clip(page, service, job)
    page.evaluate(WATCH)
    for number in range(1, 20):
        page.keyboard.press(".")
        page.wait_for_function("(number) => window.pairs.at(-1)?.[0] === number", arg=number)
    for number in range(18, 12, -1):
        page.keyboard.press(",")
        page.wait_for_function("(number) => window.pairs.at(-1)?.[0] === number", arg=number)
    page.keyboard.press("Space")
    page.wait_for_function("() => window.pairs.at(-1)[0] >= 40")
    page.keyboard.press("Space")
    pairs = page.evaluate("window.pairs")
    assert len({number for number, _ in pairs}) > 30
    for number, time in pairs:
        assert time == pytest.approx(stamps[number], abs=1e-3), (number, time)


def test_a_protected_service_asks_for_its_token(browser: Any, tmp_path: Path, words: tuple[str | Path, ...]) -> None:
    token = "a-long-secret-for-tests"
    with RunningService(tmp_path / "data", *words, token=token) as service, opened(browser) as page:
        page.goto(address(service))
        page.get_by_label("Token").fill(token)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Who does what, and when").wait_for()
        assert token not in page.url
        page.goto(address(service))
        page.get_by_role("heading", name="Who does what, and when").wait_for()
