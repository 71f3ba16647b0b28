"""The demonstration on one page, which stands alone: its pictures, and the video, are in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np

from pipeline.answers import Answer
from pipeline.demo.commands import own_videos
from pipeline.demo.plan import CLIPS, Order, Plan, orders
from pipeline.evaluate import Evaluation
from pipeline.html_page import document, film, html_table, picture
from pipeline.predict_networks import Networks
from pipeline.rendering.family import FAMILIES
from pipeline.statistics import Row, as_cells
from pose_extraction.files import atomic_write
from pose_extraction.video import VideoReader

# Height of a still in the row of clips, and quality of its JPEG.
STILL_HEIGHT, JPEG_QUALITY = 150, 88
# The actions that are told of each person.
TOLD = 3
TITLE = "From video to action: what this machine just did"


@dataclass
class StepTold:
    """A step that was done.

    Args:
        title: What it is.
        command: What does the same when typed; "" where nothing does.
        result: What came of it, in words.
        seconds: How long it took.
    """

    title: str
    command: str = ""
    result: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Found:
    """What the page tells.

    Args:
        plan: What was drawn.
        networks: Of stage one.
        folder: Of everything.
        data: Skeleton file.
        rows: Its statistics.
        run: Run directory.
        evaluation: Of the run, on people whom it has never seen.
        answers: For the new clip and its persons.
        doings: What the people in it were drawn doing, from left to right.
        overlay: The new clip with skeletons and answers; the figure of the attention lies beside it.
    """

    plan: Plan
    networks: Networks
    folder: Path
    data: Path
    rows: Sequence[Row]
    run: Path
    evaluation: Evaluation
    answers: Sequence[Answer]
    doings: Sequence[str]
    overlay: Path


def write_page(path: Path, found: Found, steps: Sequence[StepTold]) -> None:
    """Writes the page.

    Args:
        path: The HTML file.
        found: What it tells.
        steps: What was done before it.

    Raises:
        VideoError: A clip cannot be read.
        OSError: A figure is missing, or the page cannot be written.
    """
    body = [f"<h1>{escape(TITLE)}</h1>", *_headline(found), *_done(steps), *_clips(found), *_quality(found)]
    body += [*_training(found), *_accuracy(found), *_prediction(found), *_next()]
    with atomic_write(path) as file:
        file.write(document(TITLE, body).encode())


def _headline(found: Found) -> Iterator[str]:
    metrics, plan = found.evaluation.metrics, found.plan
    low, high = metrics.top1_interval
    told = ", ".join(_sentence(answer) for answer in found.answers if answer.person is not None)
    yield (
        f"<p><b>{metrics.top1:.1%}</b> of {metrics.clips} clips of people whom neither the networks nor the recognizer "
        f"had ever seen were recognised (95 % interval {low:.1%} to {high:.1%}; chance {1 / len(plan.actions):.1%}). "
        f"In a new clip of two people doing {escape(' and '.join(found.doings))}, the answers were: "
        f"{escape(told) or 'none'}.</p>"
    )
    yield (
        "<p>The people are drawn, so that all of this works without a camera and without a network, and so that the "
        f"truth is known. Poses were found by {escape(str(found.networks.estimator))}, persons by "
        f"{escape(str(found.networks.detector))}: small networks that know drawn people alone, no use on photographs. "
        "Everything else is what your own videos go through.</p>"
    )


def _sentence(answer: Answer) -> str:
    if answer.label is None:
        return f"person {answer.person}: nothing ({answer.reason})"
    return f"person {answer.person} {answer.label} ({answer.probability:.0%})"


def _done(steps: Sequence[StepTold]) -> Iterator[str]:
    yield "<h2>What was done, and how long it took</h2>"
    rows = [(str(number), step.title, step.result, f"{step.seconds:.1f} s") for number, step in enumerate(steps, 1)]
    total = sum(step.seconds for step in steps)
    yield html_table(("", "step", "what came of it", "time"), [*rows, ("", "together", "", f"{total:.0f} s")])
    yield "<p>These commands do the same, one by one:</p>"
    yield f"<pre>{escape(chr(10).join(step.command for step in steps if step.command))}</pre>"


def _clips(found: Found) -> Iterator[str]:
    yield "<h2>The clips</h2>"
    plan = found.plan
    yield (
        f"<p>{plan.train_each} clips of each action to train on, {plan.test_each} to test on, of "
        f"{plan.frames / plan.fps:g} s. Bodies, clothes, tempo, places and cameras of the people to test on come from "
        "ranges and patterns that training never draws from. Everybody is plain to see: whole, and hidden little.</p>"
    )
    for family, words in zip(FAMILIES, ("to train on", "to test on"), strict=True):
        shown = {one.action: one for one in orders(plan) if one.family == family}
        if shown:
            stills = _jpeg(np.hstack([_still(found.folder / CLIPS, one) for one in shown.values()]))
            caption = f"{words}: {escape(', '.join(shown))}"
            yield picture(caption, stills, kind="jpeg", caption=caption)


def _still(folder: Path, order: Order) -> np.ndarray:
    image = _middle_frame(folder / f"{order.identifier}.mp4")
    width = round(image.shape[1] * STILL_HEIGHT / image.shape[0])
    return cv2.resize(image, (width, STILL_HEIGHT), interpolation=cv2.INTER_AREA)


def _middle_frame(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        images = [frame.image for frame in reader]
    return images[len(images) // 2]


def _jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _quality(found: Found) -> Iterator[str]:
    yield "<h2>Quality of the skeletons</h2>"
    yield (
        "<p>What the estimator missed: raw, as it came, and clean, after tracking and cleaning. No truth is needed for "
        "these numbers; <code>skelpipe stats</code> prints them of any videos.</p>"
    )
    head = ["measure", *(f"{row.split}, {row.stage}" for row in found.rows)]
    yield html_table(head, as_cells(found.rows), word_columns=1)


def _training(found: Found) -> Iterator[str]:
    yield "<h2>Training</h2>"
    yield (
        "<p>MaskCLR, small: first cross-entropy alone; then (shaded) also a masked pathway without the joints that the "
        "network attends to most, and two contrastive losses. A tenth of the clips to train on was held out to choose "
        "the epoch.</p>"
    )
    yield _figure("Losses, accuracies and learning rates", found.evaluation.folder / "training.png", found.folder)


def _accuracy(found: Found) -> Iterator[str]:
    metrics, names = found.evaluation.metrics, found.evaluation.trained.label_names
    low, high = metrics.top1_interval
    yield "<h2>Accuracy on people never seen</h2>"
    rows = [
        ("clips", str(metrics.clips)),
        ("right", str(metrics.correct)),
        ("top-1", f"{metrics.top1:.1%}, 95 % interval {low:.1%} to {high:.1%}"),
        ("mean of the classes", f"{metrics.mean_class:.1%}"),
        ("clips in which nobody was found, which count as wrong", str(metrics.unanswered)),
    ]
    yield html_table(("measure", "value"), rows)
    pairs = [
        (f"{names[pair.first]} / {names[pair.second]}", str(pair.count), f"{pair.share:.0%}")
        for pair in metrics.confused_pairs
    ]
    if pairs:
        yield html_table(("most confused", "clips", "of all failures"), pairs, word_columns=1)
    yield _figure("Confusion matrix", found.evaluation.folder / "confusion.png", found.folder)


def _prediction(found: Found) -> Iterator[str]:
    yield "<h2>A new clip: who does what</h2>"
    yield f"<p>From left to right, they were drawn doing this: {escape(', '.join(found.doings))}.</p>"
    rows = []
    for answer in found.answers:
        who = "all together" if answer.person is None else f"person {answer.person}"
        told = ", ".join(f"{name} {share:.0%}" for name, share in answer.best[:TOLD])
        joints = sorted(answer.attention, key=lambda joint: -answer.attention[joint])[:TOLD]
        looked = ", ".join(joint.replace("_", " ") for joint in joints)
        rows.append((who, told or f"nothing: {answer.reason}", looked))
    yield html_table(("who", "taken for", "joints that counted most"), rows)
    beside = f"The whole clip; <code>{escape(found.overlay.name)}</code> beside this page is the same."
    yield picture(
        "A frame of the overlay",
        _jpeg(_middle_frame(found.overlay)),
        kind="jpeg",
        caption="Bones, boxes, track ids and answers; joints glow as much as they counted.",
    )
    yield film(found.overlay.read_bytes(), caption=beside)
    yield "<h2>Which joints told</h2>"
    yield (
        "<p>The attention that each joint received in the network's last block, over time; 1 is the mean of a frame."
        "</p>"
    )
    yield _figure("Attention by joint and time", found.overlay.with_suffix(".png"), found.folder)


def _figure(words: str, path: Path, folder: Path) -> str:
    caption = f"<code>{escape(str(path.relative_to(folder)))}</code>"
    return picture(words, path.read_bytes(), caption=caption)


def _next() -> Iterator[str]:
    yield "<h2>Your own videos</h2>"
    yield (
        "<p>Put them into a folder for each action, <code>videos/boxing/a.mp4</code>, and type this. The first command "
        "downloads networks that know photographs.</p>"
    )
    yield f"<pre>{escape(chr(10).join(own_videos()))}</pre>"
