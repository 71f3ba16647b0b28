"""What the demonstration does, step by step, and says while it does it: what users do, by the same functions."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from rich.console import Console

from pipeline import answers as predicted
from pipeline import evaluate as evaluated
from pipeline import statistics
from pipeline.demo.commands import own_videos, skelpipe
from pipeline.demo.drawing import LABELS_NAME, draw_clips, draw_new_clip
from pipeline.demo.plan import CLIPS, NEW_CLIP, Plan
from pipeline.demo.report import Found, StepTold, write_page
from pipeline.evaluate import Engine
from pipeline.extract import extract
from pipeline.predict import predict, scope_of
from pipeline.predict_networks import Networks
from pipeline.predict_video import Wanted
from pipeline.rendering.clips import TRUTH
from pipeline.rendering.family import TEST, TRAIN
from pipeline.settings import parse_settings
from pipeline.train import train_settings
from pose_extraction.annotations import read_data_set
from pose_extraction.errors import SkelpipeError, UsageError
from pose_extraction.files import atomic_write
from recognition import runs
from recognition.preparation import prepare
from recognition.resuming import check_same_run, settings_before
from recognition.settings import RunSettings
from recognition.training import train

# Says that a folder is a demonstration's, and of which plan.
MARK = "demo.json"
PAGE, ANSWERS = "report.html", "answers.jsonl"
CONFIG = "small"
NETWORKS = Networks("hrnet-tiny", "rtmdet-nano-rendered")


@dataclass
class Teller:
    """Says what is done, and keeps it for the page.

    Args:
        console: Where it is said.
    """

    console: Console
    steps: list[StepTold] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.console.print(f"   {text}" if text else "", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, title: str, command: Sequence[str] = ()) -> Iterator[StepTold]:
        """A step: its title, the command that does the same, what it gave, and how long it took."""
        told = StepTold(title, " ".join(command))
        self.console.print(f"\n{len(self.steps) + 1}. {title}", style="bold", highlight=False, markup=False)
        if command:
            self.say(f"$ {told.command}")
        begun = perf_counter()
        yield told
        told.seconds = perf_counter() - begun
        self.steps.append(told)
        self.say(f"{told.result} ({told.seconds:.0f} s)")


def demo(folder: Path, console: Console, *, plan: Plan | None = None, networks: Networks = NETWORKS) -> Found:
    """Goes the whole way once, or on from where it was left.

    Args:
        folder: Where everything is written. What another plan left there is replaced.
        console: Where it is told.
        plan: What is drawn, and how long is trained.
        networks: Of stage one.

    Returns:
        What the page tells.

    Raises:
        UsageError: The folder holds something else.
        SkelpipeError: A step failed; the message says what to do.
    """
    plan = plan or Plan()
    teller = Teller(console)
    _claim(folder, plan)
    data = _skeletons(folder, plan, networks, teller)
    with teller.step("Asking what was missed, before cleaning and after it", skelpipe("stats", str(data))) as told:
        rows = statistics.statistics_of([data])
        statistics.print_table(rows, console)
        told.result = f"joints that are missing: {_missing(rows)}"
    run = _trained(folder / "run", data, plan, teller)
    words = skelpipe("evaluate", str(run), "--data", str(data), "--split", TEST.name)
    with teller.step("Testing it on people whom it has never seen", words) as told:
        evaluation = evaluated.evaluate(run, data, TEST.name, engine=Engine(), console=console)
        evaluated.print_table(evaluation, console)
        low, high = evaluation.metrics.top1_interval
        told.result = (
            f"{evaluation.metrics.top1:.1%} of {evaluation.metrics.clips} clips are recognised (95 % interval "
            f"{low:.1%} to {high:.1%}); figures in {evaluation.folder}"
        )
    video, overlay = _new_clip(folder, plan, teller)
    answers = _answers(video, run, overlay, networks, teller)
    with teller.step("Writing a page about it") as told:
        found = Found(plan, networks, folder, data, rows, run, evaluation, answers, _doings(video), overlay)
        page = folder / PAGE
        told.result = str(page)
        write_page(page, found, teller.steps)
    _farewell(page, teller)
    return found


def _claim(folder: Path, plan: Plan) -> None:
    """Makes the folder this plan's: empties it of another plan's results, refuses what is no demonstration's."""
    mark, digest = folder / MARK, plan.digest()
    if mark.is_file():
        if json.loads(mark.read_text(encoding="utf-8")).get("digest") == digest:
            return
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != mark:
                path.unlink()
    elif folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder}: holds files that no demonstration wrote; delete it, or name another with --out")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(mark) as file:
        file.write(json.dumps({"digest": digest}).encode())


def _skeletons(folder: Path, plan: Plan, networks: Networks, teller: Teller) -> Path:
    """Steps one and two: clips, and the skeletons in them."""
    seconds = plan.frames / plan.fps
    title = f"Drawing {plan.clips} clips of {seconds:g} s, in which somebody does one of {len(plan.actions)} things"
    with teller.step(title) as told:
        teller.say(", ".join(plan.actions))
        drawn = draw_clips(plan, folder, teller.console)
        told.result = f"{folder / CLIPS}, with {LABELS_NAME}" + ("" if drawn else ": drawn before")
    labels = folder / CLIPS / LABELS_NAME
    chosen = _chosen(networks)
    out = folder / "skeletons"
    words = skelpipe("extract", *chosen, "--labels", str(labels), "--out", str(out), str(folder / CLIPS))
    with teller.step("Extracting their skeletons with small networks", words) as told:
        settings = parse_settings(vars(networks), place="the demonstration")
        report = extract([folder / CLIPS], out, settings=settings, labels=str(labels), console=teller.console)
        if report.data_set is None or report.failed:
            raise SkelpipeError(
                f"{report.folder}: {len(report.failed)} clips could not be extracted, as said above; delete {folder} "
                "and begin anew"
            )
        rate = f", {report.frames_per_second:.0f} frames a second" if report.done else ""
        told.result = f"{report.data_set}: {report.done} clips done{rate}, {report.skipped} done before"
    return report.data_set


def _trained(run: Path, data: Path, plan: Plan, teller: Teller) -> Path:
    """Step four: a recognizer, or the rest of its training."""
    # Each clip shows one person: whoever else a small detector believes to see is nobody. Nor is a small network as
    # sure of people whom it has never seen as of others.
    pairs = [f"phase1_epochs={plan.phase1_epochs}", f"phase2_epochs={plan.phase2_epochs}"]
    pairs += ["data.max_persons=1", "data.scores=seen"]
    # A small detector overlooks somebody now and then, and a clip without a person teaches nothing.
    words = skelpipe(
        "train", CONFIG, *pairs, "--data", str(data), "--split", TRAIN.name, "--out", str(run), "--skip-bad"
    )
    with teller.step("Training a small MaskCLR on them", words) as told:
        options = {"data.file": str(data), "data.train_split": TRAIN.name, "data.skip_bad": True, "out": str(run)}
        settings = train_settings([CONFIG, *pairs], options)
        resume = _is_same(run, settings, teller)
        if not resume:
            shutil.rmtree(run, ignore_errors=True)
        train(settings, resume=run if resume else None, show=True)
        trained = runs.load_run(run)
        parameters = sum(weights.numel() for weights in trained.recognizer.parameters())
        told.result = f"{run}: {parameters:,} weights, after epoch {trained.epoch}"
        if trained.held_out:
            top1, clips = trained.held_out["top1"], trained.held_out["clips"]
            told.result += f"; {top1:.1%} of {clips:.0f} held-out clips right"
    return run


def _is_same(run: Path, settings: RunSettings, teller: Teller) -> bool:
    """Whether a run that was begun there goes on; one on other clips, or of other settings, makes way."""
    if not (run / runs.LAST).is_file() or not runs.is_begun(run):
        return False
    try:
        last = runs.load(run / runs.LAST)
        check_same_run(last, prepare(settings, begun=settings_before(last)), run=str(run))
    except UsageError as error:
        teller.say(f"replacing an earlier one: {error}")
        return False
    return True


def _new_clip(folder: Path, plan: Plan, teller: Teller) -> tuple[Path, Path]:
    """Step six: a clip to predict, and where its overlay goes."""
    with teller.step("Drawing a new clip, of two people doing different things") as told:
        video = draw_new_clip(plan, folder / "new")
        told.result = f"{video}; from left to right they do this: {', '.join(_doings(video))}"
    return video, folder / f"{NEW_CLIP}_overlay.mp4"


def _answers(video: Path, run: Path, overlay: Path, networks: Networks, teller: Teller) -> tuple[predicted.Answer, ...]:
    """Step seven: who does what in it."""
    words = [
        "predict",
        *_chosen(networks),
        "--run",
        str(run),
        "--per-person",
        "--explain",
        "--overlay",
        str(overlay),
        str(video),
    ]
    with teller.step("Asking what each of them does, and which joints tell", skelpipe(*words)) as told:
        scope = scope_of(per_person=True, windows=None, overlay=overlay, explain=True, threshold=0.0)
        wanted = Wanted(scope, None, overlay)
        answers = tuple(predict([video], run, wanted, networks=networks, console=teller.console))
        failed = [answer.reason for answer in answers if answer.failed]
        if failed:
            raise SkelpipeError(f"{video}: {failed[0]}; run the demonstration again")
        predicted.print_table(answers, teller.console)
        with atomic_write(overlay.parent / ANSWERS) as file:
            file.write(predicted.as_json_lines(answers).encode())
        told.result = f"{overlay}, and {overlay.with_suffix('.png').name} beside it"
    return answers


def _missing(rows: Sequence[statistics.Row]) -> str:
    """Share of the joints that were missed, before cleaning and after it, over all splits."""
    last = {row.stage: row.values["missing_keypoints_percent"] for row in rows}
    return ", ".join(f"{value:.1f} % {stage}" for stage, value in last.items() if value is not None)


def _doings(video: Path) -> list[str]:
    """What the people in a clip were drawn doing, from left to right."""
    truth = read_data_set(video.parent / f"{TRUTH}.pkl")["annotations"][0]
    order = truth["box"][:, :, 0].mean(axis=1).argsort()
    return [truth["person_action"][person] for person in order]


def _chosen(networks: Networks) -> list[str]:
    """Networks as options."""
    options = {
        "--estimator": networks.estimator,
        "--detector": networks.detector,
        "--checkpoint": networks.checkpoint,
        "--detector-checkpoint": networks.detector_checkpoint,
    }
    return [word for name, value in options.items() if value is not None for word in (name, value)]


def _farewell(page: Path, teller: Teller) -> None:
    teller.say("")
    teller.say(f"Now open {page} in a browser.")
    teller.say("")
    teller.say("For your own videos, with networks that know photographs (these here know drawn people alone):")
    for line in own_videos():
        teller.say(f"   {line}")
