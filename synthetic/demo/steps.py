"""Runs the demonstration step by step, with the functions behind the commands, and reports each step."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from rich.console import Console

from pipeline.datasets import statistics
from pipeline.evaluate import workflow as evaluated
from pipeline.evaluate.report import print_table
from pipeline.extract.settings import parse_settings
from pipeline.extract.workflow import extract
from pipeline.predict import answers as predicted
from pipeline.predict.options import Networks, PredictOptions, scope_of
from pipeline.predict.output import printing
from pipeline.predict.workflow import predict
from pipeline.train.settings import train_settings
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import SkelpipeError, UsageError, counted
from pose_extraction.files import atomic_write
from pose_extraction.formats.validation import read_data_set
from recognition import run_folder, runs
from recognition.settings import RunSettings
from recognition.training.preparation import prepare
from recognition.training.resuming import check_same_run, settings_before
from recognition.training.run import train
from synthetic.demo.commands import own_videos, skelpipe
from synthetic.demo.drawing import LABELS_NAME, draw_clips, draw_new_clip
from synthetic.demo.plan import CLIPS, NEW_CLIP, DemoPlan
from synthetic.demo.report import CompletedStep, DemoResult, write_page
from synthetic.rendering.clips import TRUTH
from synthetic.rendering.family import TEST, TRAIN

# Marks a folder as a demonstration's, with the digest of its plan.
MARK = "demo.json"
PAGE, ANSWERS = "report.html", "answers.jsonl"
CONFIG = "custom"
NETWORKS = Networks("hrnet-tiny", "rtmdet-nano-rendered")


@dataclass
class Reporter:
    """Prints the steps and records them for the page.

    Args:
        console: Output console.
    """

    console: Console
    steps: list[CompletedStep] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.console.print(f"   {text}" if text else "", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, title: str, command: Sequence[str] = ()) -> Iterator[CompletedStep]:
        """Run a step: prints its title, the equivalent command, the result and the duration."""
        step = CompletedStep(title, " ".join(command))
        self.console.print(f"\n{len(self.steps) + 1}. {title}", style="bold", highlight=False, markup=False)
        if command:
            self.say(f"$ {step.command}")
        begun = perf_counter()
        yield step
        step.seconds = perf_counter() - begun
        self.steps.append(step)
        self.say(f"{step.result} ({step.seconds:.0f} s)")


def demo(folder: Path, console: Console, *, plan: DemoPlan | None = None, networks: Networks = NETWORKS) -> DemoResult:
    """Run the complete demonstration, or continue an interrupted one.

    Args:
        folder: Output folder. Results of another plan are replaced.
        console: Output console.
        plan: Clips to render and length of the training.
        networks: Networks for pose extraction.

    Returns:
        Content of the page.

    Raises:
        UsageError: The folder contains other files.
        SkelpipeError: A step failed; the message names the remedy.
    """
    plan = plan or DemoPlan()
    reporter = Reporter(console)
    _claim(folder, plan)
    data = _skeletons(folder, plan, networks, reporter)
    with reporter.step("Counting missing joints before and after cleaning", skelpipe("stats", str(data))) as step:
        rows = statistics.statistics_of([data])
        statistics.print_table(rows, console)
        step.result = f"missing joints: {_missing(rows)}"
    run = _trained(folder / "run", data, plan, reporter)
    words = skelpipe("evaluate", str(run), "--data", str(data), "--split", TEST.name)
    with reporter.step("Evaluating it on unseen people", words) as step:
        evaluation = evaluated.evaluate(run, data, TEST.name, engine=Engine(), console=console)
        print_table(evaluation, console)
        low, high = evaluation.metrics.top1_interval
        step.result = (
            f"{evaluation.metrics.top1:.1%} of {evaluation.metrics.clips} clips are correct (95 % interval "
            f"{low:.1%} to {high:.1%}); figures in {evaluation.folder}"
        )
    video, overlay = _new_clip(folder, plan, reporter)
    answers = _answers(video, run, overlay, networks, reporter)
    with reporter.step("Writing the report") as step:
        found = DemoResult(plan, networks, folder, data, rows, run, evaluation, answers, _true_actions(video), overlay)
        page = folder / PAGE
        step.result = str(page)
        write_page(page, found, reporter.steps)
    service = skelpipe("serve", str(video), "--run", str(run), *_chosen(networks))
    _print_next_steps(page, service, reporter)
    return found


def _claim(folder: Path, plan: DemoPlan) -> None:
    """Reserve the folder for this plan: delete results of another plan, refuse folders of other content."""
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
        raise UsageError(f"{folder}: contains files that no demonstration wrote; delete it, or choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(mark) as file:
        file.write(json.dumps({"digest": digest}).encode())


def _skeletons(folder: Path, plan: DemoPlan, networks: Networks, reporter: Reporter) -> Path:
    """Steps one and two: render clips and extract their skeletons."""
    seconds = plan.frames / plan.fps
    title = f"Rendering {plan.clips} clips of {seconds:g} s with one person and one of {len(plan.actions)} actions"
    with reporter.step(title) as step:
        reporter.say(", ".join(plan.actions))
        drawn = draw_clips(plan, folder, reporter.console)
        step.result = f"{folder / CLIPS}, with {LABELS_NAME}" + ("" if drawn else ": already rendered")
    labels = folder / CLIPS / LABELS_NAME
    chosen = _chosen(networks)
    out = folder / "skeletons"
    words = skelpipe("extract", *chosen, "--labels", str(labels), "--out", str(out), str(folder / CLIPS))
    with reporter.step("Extracting skeletons with small networks", words) as step:
        given = {name: value for name, value in vars(networks).items() if value is not None}
        settings = parse_settings(given, place="the demonstration")
        report = extract([folder / CLIPS], out, settings=settings, labels=str(labels), console=reporter.console)
        if report.data_set is None or report.failed:
            raise SkelpipeError(
                f"{report.folder}: {len(report.failed)} clips could not be extracted (see above); delete {folder} "
                "and start again"
            )
        rate = f", {report.frames_per_second:.0f} frames/s" if report.done else ""
        step.result = (
            f"{report.data_set}: {counted(report.done, 'clip')} extracted{rate}, {report.skipped} already done"
        )
    return report.data_set


def _trained(run: Path, data: Path, plan: DemoPlan, reporter: Reporter) -> Path:
    """Step four: train a recognizer, or resume its training."""
    # The default of the command. Each clip shows one person; other detections of the small detector are false.
    pairs = [f"phase1_epochs={plan.phase1_epochs}", f"phase2_epochs={plan.phase2_epochs}"]
    pairs.append("data.max_persons=1")
    # The small detector misses some persons; clips without a person are skipped.
    words = skelpipe(
        "train", CONFIG, *pairs, "--data", str(data), "--split", TRAIN.name, "--out", str(run), "--skip-bad"
    )
    with reporter.step("Training a recognizer", words) as step:
        options = {"data.file": str(data), "data.train_split": TRAIN.name, "data.skip_bad": True, "out": str(run)}
        settings = train_settings([CONFIG, *pairs], options)
        resume = _is_same(run, settings, reporter)
        if not resume:
            shutil.rmtree(run, ignore_errors=True)
        train(settings, resume=run if resume else None, show=True)
        trained = runs.load_run(run)
        parameters = sum(weights.numel() for weights in trained.recognizer.parameters())
        step.result = f"{run}: {parameters:,} parameters, epoch {trained.epoch}"
        if trained.held_out:
            top1, clips = trained.held_out["top1"], trained.held_out["clips"]
            step.result += f"; {top1:.1%} of {clips:.0f} held-out clips correct"
    return run


def _is_same(run: Path, settings: RunSettings, reporter: Reporter) -> bool:
    """Whether to resume an existing run; a run on other clips or with other settings is replaced."""
    if not run_folder.is_begun(run):
        return False
    try:
        last = runs.load(runs.run_file(run, "last"))
        check_same_run(last, prepare(settings, begun=settings_before(last)), run=str(run))
    except UsageError as error:
        reporter.say(f"replacing an earlier run: {error}")
        return False
    return True


def _new_clip(folder: Path, plan: DemoPlan, reporter: Reporter) -> tuple[Path, Path]:
    """Step six: render a clip for prediction; returns the clip and the path of its overlay."""
    with reporter.step("Rendering a new clip of two people with different actions") as step:
        video = draw_new_clip(plan, folder / "new")
        step.result = f"{video}; true actions from left to right: {', '.join(_true_actions(video))}"
    return video, folder / f"{NEW_CLIP}_overlay.mp4"


def _answers(
    video: Path, run: Path, overlay: Path, networks: Networks, reporter: Reporter
) -> tuple[predicted.Answer, ...]:
    """Step seven: predict the actions of its persons."""
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
    with reporter.step("Predicting each person's action, with an explanation", skelpipe(*words)) as step:
        scope = scope_of(per_person=True, windows=None, overlay=overlay, explain=True, threshold=0.0)
        wanted = PredictOptions(scope, None, overlay)
        answers = tuple(predict([video], run, wanted, networks=networks, console=reporter.console))
        failed = [answer.reason for answer in answers if answer.failed]
        if failed:
            raise SkelpipeError(f"{video}: {failed[0]}; run the demonstration again")
        printing.print_table(answers, reporter.console)
        with atomic_write(overlay.parent / ANSWERS) as file:
            file.write(predicted.as_json_lines(answers).encode())
        step.result = f"{overlay}, with {overlay.with_suffix('.png').name} next to it"
    return answers


def _missing(rows: Sequence[statistics.Row]) -> str:
    """Return the share of missing joints before and after cleaning, over all splits."""
    last = {row.stage: row.values["missing_keypoints_percent"] for row in rows}
    return ", ".join(f"{value:.1f} % {stage}" for stage, value in last.items() if value is not None)


def _true_actions(video: Path) -> list[str]:
    """Return the true actions of the people in a clip, from left to right."""
    truth = read_data_set(video.parent / f"{TRUTH}.pkl")["annotations"][0]
    order = truth["box"][:, :, 0].mean(axis=1).argsort()
    return [truth["person_action"][person] for person in order]


def _chosen(networks: Networks) -> list[str]:
    """Return the networks as command-line options."""
    options = {
        "--estimator": networks.estimator,
        "--detector": networks.detector,
        "--checkpoint": networks.checkpoint,
        "--detector-checkpoint": networks.detector_checkpoint,
    }
    return [word for name, value in options.items() if value is not None for word in (name, value)]


def _print_next_steps(page: Path, serve: Sequence[str], reporter: Reporter) -> None:
    reporter.say("")
    reporter.say(f"Open {page} in a browser.")
    reporter.say("")
    reporter.say("To see on the new clip who does what and when, and to correct it, open the address that this prints:")
    reporter.say(f"   {' '.join(serve)}")
    reporter.say("")
    reporter.say("Commands for your own videos, with networks trained on photographs:")
    for line in own_videos():
        reporter.say(f"   {line}")
