"""One job: the workflow of `skelpipe predict` for one video, with everything that a page shows of it."""

import io
import json
import shutil
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.extract.ledger import source_digest
from pipeline.extract.results.writing import estimate_step
from pipeline.inputs.videos import named_source
from pipeline.predict.answers import Answer, as_csv, as_dictionary
from pipeline.predict.options import Networks
from pipeline.predict.videos import predict_videos
from pipeline.predict.workflow import check_options
from pipeline.serve import scene
from pipeline.serve.folders import OUTCOME_NAME
from pipeline.serve.messages import Finished, Progress, RunJob
from pipeline.serve.settings import OVERLAY_NAME, JobSettings, allowed_path
from pipeline.serve.worker.media import Media, copy_for_browsers, probe
from pipeline.serve.worker.networks import Loaded, NetworkCache
from pipeline.serve.worker.recording import Cancelled, Recorder, Reporter, TooLong, recorded_poses
from pose_extraction.errors import SkelpipeError, UsageError, VideoError
from pose_extraction.files import atomic_write
from pose_extraction.formats.annotations import annotation_from, data_set, write_pickle
from pose_extraction.skeleton import COCO17
from pose_extraction.tracking.cleaning import rank_persons

# Answers in the list of jobs.
FIRST_ANSWERS = 5
# Largest number of persons times frames in a skeleton file: 1 GB.
MOST_ROWS = 5_000_000
VIDEO_NAME = "video.mp4"
# Beginnings of the lines that a client should know; the others are about progress and files.
NOTES = ("note: ", "warning: ")


@dataclass(frozen=True)
class JobContext:
    """What all jobs of a worker share.

    Args:
        cache: The networks.
        networks: Networks of stage one of jobs that do not name others.
        allow: Folders whose videos jobs may name by path.
        most_frames: Number of frames beyond which a video is refused.
        send: Sends a message to the service.
        is_cancelled: Whether a job has been cancelled.
    """

    cache: NetworkCache
    networks: Networks
    allow: tuple[Path, ...]
    most_frames: int
    send: Callable[[Progress], None]
    is_cancelled: Callable[[str], bool]


def run_job(order: RunJob, context: JobContext) -> Finished:
    """Process a video; the results appear in the folder `result` of the job, all at once.

    Args:
        order: The job.
        context: What all jobs of the worker share.
    """
    work = order.folder / f"work-{uuid.uuid4().hex[:8]}"
    try:
        work.mkdir()
        outcome = _process(order, context, work)
        work.rename(order.folder / "result")
        return Finished(order.job, outcome=outcome)
    except Cancelled:
        return Finished(order.job, "cancelled", "cancelled")
    except TooLong as error:
        return Finished(order.job, f"{order.name}: {error}", "video")
    except SkelpipeError as error:
        kind = "usage" if isinstance(error, UsageError) else "video" if isinstance(error, VideoError) else "networks"
        message = str(error).replace(str(order.source), order.name).replace(f"{work}/", "")
        return Finished(order.job, message, kind)
    except OSError as error:
        return Finished(order.job, f"{order.name}: {error.strerror or error}; see the log of the service", "system")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _process(order: RunJob, context: JobContext, work: Path) -> dict[str, Any]:
    settings = JobSettings.model_validate(order.settings)
    options = settings.options(work)
    inside = order.source.parent == order.folder
    if not inside and allowed_path(str(order.source), context.allow) != order.source:
        raise VideoError(f"{order.name}: is no longer in an allowed folder; submit it again")
    reporter = Reporter(order.job, context.send, lambda: context.is_cancelled(order.job))
    media = probe(order.source, settings.stream, context.most_frames)
    loaded = context.cache.get(order.run, settings.networks(context.networks))
    output = io.StringIO()
    console = Console(file=output, width=1000)
    check_options(loaded.trained, options, console)
    reporter.stage("extracting")
    stride = loaded.plan.settings.stride
    recorder = Recorder(work, reporter, stride=stride, most_frames=context.most_frames)
    source = named_source(order.source, order.name)
    with closing(recorder):
        found = predict_videos(
            [source], loaded.extractor, loaded.predictor, options, console, stride=stride, observer=recorder
        )
        with closing(found):
            answers = list(found)
        failed = next((answer for answer in answers if answer.failed), None)
        if failed is not None or recorder.info is None:
            raise VideoError(f"{order.name}: {failed.reason if failed else 'contains no frames'}")
        if not media.plays:
            copy_for_browsers(
                order.source, work / VIDEO_NAME, fps=settings.fps, stream=settings.stream, reporter=reporter,
                frames=recorder.frames * stride,
            )  # fmt: skip
        _write_scene(work, recorder, loaded, answers, media)
    _write_skeletons(work, recorder, loaded, source.frame_dir, order.name)
    reporter.close()
    return _write_answers(work, order, answers, recorder, reporter, output.getvalue(), media)


def _write_scene(work: Path, recorder: Recorder, loaded: Loaded, answers: list[Answer], media: Media) -> None:
    assert recorder.info is not None
    info, offset = recorder.info, media.start
    segments: dict[int | None, list[dict]] = {}
    for answer in answers:
        if answer.label is not None and answer.start is not None and answer.end is not None:
            row = {"start": answer.start, "end": answer.end, "label": answer.label}
            row |= {"probability": answer.probability, "unknown_score": answer.unknown_score}
            segments.setdefault(answer.person, []).append(row)
    frames = scene.read(work / scene.FRAMES_NAME, scene.FRAME)
    last = float(frames["time"][-1]) if len(frames) else 0.0
    content = {
        "video": {
            "width": info.size[1],
            "height": info.size[0],
            "duration": last + loaded.plan.settings.stride / info.fps + offset,
            "frame_rate": info.fps,
            "start": offset,
        },
        "joints": list(COCO17.joints),
        "bones": [list(bone) for bone in COCO17.bones],
        "classes": list(loaded.trained.label_names),
        "persons": list(scene.described_persons(work, recorder.windows(), segments, offset)),
        "attention": recorder.has_attention,
    }
    scene.write_scene(work, content)


def _write_skeletons(work: Path, recorder: Recorder, loaded: Loaded, frame_dir: str, name: str) -> None:
    """Write the tracked skeletons as a file of `skelpipe extract`; of very many persons, the most important ones."""
    assert recorder.info is not None
    persons = scene.persons_in(work)
    video = recorded_poses(work, recorder.info.size, persons)
    most = max(MOST_ROWS // max(video.num_frames, 1), 1)
    if len(video.tracks) > most:
        video = rank_persons(video, max_persons=most)
    rows = sum(len(track) for track in video.tracks)
    video.history.insert(0, estimate_step(loaded.plan, frames=video.num_frames, persons=rows))
    annotation = annotation_from(
        video,
        frame_dir=frame_dir,
        estimator=loaded.plan.estimator.name,
        fps=recorder.info.fps,
        source=name,
    )
    write_pickle(work / "result.pkl", data_set([annotation], {"all": [frame_dir]}))


def _write_answers(
    work: Path, order: RunJob, answers: list[Answer], recorder: Recorder, reporter: Reporter, notes: str, media: Media
) -> dict[str, Any]:
    plain = [as_dictionary(answer) for answer in answers]
    result = {
        "name": order.name,
        "settings": order.settings,
        "notes": [line for line in notes.splitlines() if line.startswith(NOTES)],
        "answers": plain,
    }
    _write_json(work / "result.json", result)
    with atomic_write(work / "result.csv") as file:
        file.write(as_csv(answers).encode())
    kept = ("person", "start", "end", "label", "probability", "unknown_score", "reason")
    outcome = {
        "answers": [{name: answer[name] for name in kept} for answer in plain[:FIRST_ANSWERS]],
        "frames": recorder.frames,
        "seconds": {stage: round(seconds, 3) for stage, seconds in reporter.seconds.items()},
        "video": {
            "plays": media.plays,
            "kind": media.kind if media.plays else "video/mp4",
            "start": media.start,
        },
        "source": _name_of_content(order),
        "overlay": (work / OVERLAY_NAME).is_file(),
    }
    _write_json(work / OUTCOME_NAME, outcome)
    return outcome


def _name_of_content(order: RunJob) -> str:
    """Return a text that is the same for all jobs of the same frames, whatever the name of the file."""
    stream = order.settings.get("stream")
    return source_digest(order.source) + ("" if stream is None else f"-{stream}")


def _write_json(path: Path, content: Any) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(content, ensure_ascii=False, allow_nan=False).encode())
