"""The demonstration's report: a single HTML page with embedded images and video."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.datasets.statistics import Row, as_cells
from pipeline.evaluate.evaluation import Evaluation
from pipeline.predict.answers import Answer
from pipeline.predict.options import Networks
from pipeline.reporting.html_page import Block, Image, Listing, Paragraph, Section, Table, Video, render_page
from pose_extraction.files import atomic_write
from pose_extraction.video.reader import VideoReader
from synthetic.demo.commands import own_videos
from synthetic.demo.plan import CLIPS, DemoPlan, Order, orders
from synthetic.rendering.family import FAMILIES

# Height of the clips' stills in pixels, and their JPEG quality.
STILL_HEIGHT, JPEG_QUALITY = 150, 88
# Number of actions listed per person.
MOST_LISTED = 3
TITLE = "From video to action: results of the demonstration"


@dataclass
class CompletedStep:
    """A completed step.

    Args:
        title: Title.
        command: Equivalent command; "" if there is none.
        result: Result, in words.
        seconds: Duration in seconds.
    """

    title: str
    command: str = ""
    result: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class DemoResult:
    """Content of the page.

    Args:
        plan: DemoPlan of the demonstration.
        networks: Networks for pose extraction.
        folder: Output folder.
        data: Skeleton file.
        rows: Statistics of the skeleton file.
        run: Run directory.
        evaluation: Evaluation of the run on unseen people.
        answers: Predictions for the new clip and its persons.
        true_actions: True actions of the people in it, from left to right.
        overlay: The new clip with skeletons and predictions; the attention figure is next to it.
    """

    plan: DemoPlan
    networks: Networks
    folder: Path
    data: Path
    rows: Sequence[Row]
    run: Path
    evaluation: Evaluation
    answers: Sequence[Answer]
    true_actions: Sequence[str]
    overlay: Path


def write_page(path: Path, found: DemoResult, steps: Sequence[CompletedStep]) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        found: Content of the page.
        steps: Completed steps.

    Raises:
        VideoError: A clip cannot be read.
        OSError: A figure is missing, or the page cannot be written.
    """
    blocks = [
        *_headline(found),
        Section("Steps and their duration", list(_done(steps))),
        Section("The clips", list(_clips(found))),
        Section("Quality of the skeletons", list(_quality(found))),
        Section("Training", list(_training(found))),
        Section("Accuracy on unseen people", list(_accuracy(found))),
        Section("Prediction for a new clip", list(_prediction(found))),
        Section("Attention by joint", list(_attention(found))),
        Section("Your own videos", list(_next())),
    ]
    with atomic_write(path) as file:
        file.write(render_page(TITLE, blocks).encode())


def _headline(found: DemoResult) -> Iterator[Block]:
    metrics, plan = found.evaluation.metrics, found.plan
    low, high = metrics.top1_interval
    predictions = ", ".join(_sentence(answer) for answer in found.answers if answer.person is not None)
    yield Paragraph(
        f"**{metrics.top1:.1%}** of {metrics.clips} clips of people who occurred neither in the training of the "
        f"networks nor of the recognizer were classified correctly (95 % interval {low:.1%} to {high:.1%}; chance "
        f"{1 / len(plan.actions):.1%}). In a new clip of two people with the actions "
        f"{' and '.join(found.true_actions)}, the predictions were: {predictions or 'none'}."
    )
    yield Paragraph(
        "The people are rendered, so that the demonstration needs neither a camera nor a download, and the ground "
        f"truth is known. Poses were estimated by {found.networks.estimator}, persons were detected by "
        f"{found.networks.detector}: small networks trained only on rendered people, which do not work on "
        "photographs. Your own videos are processed by the same pipeline."
    )


def _sentence(answer: Answer) -> str:
    if answer.label is None:
        return f"person {answer.person}: no prediction ({answer.reason})"
    return f"person {answer.person} {answer.label} ({answer.probability:.0%})"


def _done(steps: Sequence[CompletedStep]) -> Iterator[Block]:
    rows = [(str(number), step.title, step.result, f"{step.seconds:.1f} s") for number, step in enumerate(steps, 1)]
    total = sum(step.seconds for step in steps)
    yield Table(("", "step", "result", "time"), [*rows, ("", "total", "", f"{total:.0f} s")], word_columns=None)
    yield Paragraph("These commands perform the same steps:")
    yield Listing("\n".join(step.command for step in steps if step.command))


def _clips(found: DemoResult) -> Iterator[Block]:
    plan = found.plan
    yield Paragraph(
        f"{plan.train_each} training clips and {plan.test_each} test clips of each action, "
        f"{plan.frames / plan.fps:g} s each. Bodies, clothes, tempo, places and cameras of the test clips come from "
        "ranges and patterns that training never uses. Everyone is clearly visible: completely inside the image and "
        "hardly occluded."
    )
    for family, words in zip(FAMILIES, ("training", "test"), strict=True):
        shown = {one.action: one for one in orders(plan) if one.family == family}
        if shown:
            stills = _jpeg(np.hstack([_still(found.folder / CLIPS, one) for one in shown.values()]))
            caption = f"{words}: {', '.join(shown)}"
            yield Image(caption, stills, "jpeg", caption)


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


def _quality(found: DemoResult) -> Iterator[Block]:
    yield Paragraph(
        "Joints that the estimator missed: raw, before, and clean, after tracking and cleaning. These numbers do "
        "not need ground truth; `skelpipe stats` prints them for any skeleton file."
    )
    head = ["measure", *(f"{row.split}, {row.stage}" for row in found.rows)]
    yield Table(head, list(as_cells(found.rows)), word_columns=1)


def _training(found: DemoResult) -> Iterator[Block]:
    yield Paragraph(
        "A small MaskCLR network next to a classifier of movement descriptors, which is fitted before. The network: "
        "first cross-entropy only; then (shaded) also a masked pathway without the joints that it attends to most, and "
        "two contrastive losses. A tenth of the training clips was held out to choose the epoch."
    )
    yield _figure("Losses, accuracies and learning rates", found.evaluation.folder / "training.png", found.folder)


def _accuracy(found: DemoResult) -> Iterator[Block]:
    metrics, names = found.evaluation.metrics, found.evaluation.trained.label_names
    low, high = metrics.top1_interval
    rows = [
        ("clips", str(metrics.clips)),
        ("correct", str(metrics.correct)),
        ("top-1", f"{metrics.top1:.1%}, 95 % interval {low:.1%} to {high:.1%}"),
        ("mean class accuracy", f"{metrics.mean_class:.1%}"),
        ("clips without a detected person, counted as errors", str(metrics.unanswered)),
    ]
    yield Table(("measure", "value"), rows, word_columns=None)
    pairs = [
        (f"{names[pair.first]} / {names[pair.second]}", str(pair.count), f"{pair.share:.0%}")
        for pair in metrics.confused_pairs
    ]
    if pairs:
        yield Table(("most confused", "clips", "share of all errors"), pairs, word_columns=1)
    yield _figure("Confusion matrix", found.evaluation.folder / "confusion.png", found.folder)


def _prediction(found: DemoResult) -> Iterator[Block]:
    yield Paragraph(f"True actions, from left to right: {', '.join(found.true_actions)}.")
    rows = []
    for answer in found.answers:
        who = "whole clip" if answer.person is None else f"person {answer.person}"
        predictions = ", ".join(f"{name} {share:.0%}" for name, share in answer.best[:MOST_LISTED])
        joints = sorted(answer.attention, key=lambda joint: -answer.attention[joint])[:MOST_LISTED]
        attended = ", ".join(joint.replace("_", " ") for joint in joints)
        rows.append((who, predictions or f"no prediction: {answer.reason}", attended))
    yield Table(("who", "predictions", "most important joints"), rows, word_columns=None)
    yield Image(
        "A frame of the overlay",
        _jpeg(_middle_frame(found.overlay)),
        "jpeg",
        "Bones, boxes, track ids and predictions; the brightness of joints shows their attention.",
    )
    caption = f"The whole clip; the same as `{found.overlay.name}` next to this page."
    yield Video(found.overlay.read_bytes(), caption)


def _attention(found: DemoResult) -> Iterator[Block]:
    yield Paragraph(
        "The attention that each joint received in the network's last block, over time; 1 is the mean of a frame."
    )
    yield _figure("Attention by joint and time", found.overlay.with_suffix(".png"), found.folder)


def _figure(words: str, path: Path, folder: Path) -> Image:
    return Image(words, path.read_bytes(), caption=f"`{path.relative_to(folder)}`")


def _next() -> Iterator[Block]:
    yield Paragraph(
        "Put them into one folder per action, such as `videos/boxing/a.mp4`, and run these commands. "
        "The first command downloads networks trained on photographs."
    )
    yield Listing("\n".join(own_videos()))
