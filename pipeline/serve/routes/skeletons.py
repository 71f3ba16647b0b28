"""/v1/skeletons:predict: answers for skeletons at once, without a job."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Request

from pipeline.serve.requests.errors import ServiceError
from pipeline.serve.requests.uploads import check_length, parse_json, read_body, save_body
from pipeline.serve.service import Service
from pipeline.serve.settings import JobSettings, job_settings
from pose_extraction.errors import UsageError
from pose_extraction.formats.annotations import UNLABELLED
from pose_extraction.formats.pickle_writing import write_pickle

# Largest skeleton file in bytes.
MOST_BYTES = 64 << 20
# Settings that apply to skeletons.
SETTINGS = ("run", "threshold")
_ARRAYS = {"keypoint": np.float32, "keypoint_score": np.float32, "time": np.float64, "track_id": np.int64}
_OTHERS = {"frame_dir", "img_shape", "fps", "total_frames", "estimator"}


def skeleton_routes(service: Service) -> APIRouter:
    """Return the route of skeletons."""
    routes = APIRouter(tags=["skeletons"])

    @routes.post("/v1/skeletons:predict")
    async def predict(request: Request) -> dict[str, Any]:
        """Classify clips of skeletons: a skeleton file as the body, or JSON
        `{"annotations": [{"keypoint": [persons][frames][joints][x, y], "keypoint_score": ..., "img_shape": [height,
        width], "fps": ...}]}`. Query parameters: `run`, `threshold`. Requests that arrive at the same time share
        batches; the answers are those of `skelpipe predict FILE.pkl --json`."""
        settings = _settings_of(service, request)
        run = service.catalogue.get(settings.run).path
        path = service.folders.upload()
        with service.predicting():
            try:
                await _store(service, request, path)
                found = await service.pool.predict(path, run, settings.threshold)
            finally:
                await asyncio.to_thread(path.unlink, missing_ok=True)
        if found.error is not None and found.internal:
            raise ServiceError(500, "internal", found.error)
        if found.error is not None:
            raise UsageError(found.error)
        service.metrics.shared(found.shared)
        return {"answers": found.answers, "shared": found.shared}

    return routes


def _settings_of(service: Service, request: Request) -> JobSettings:
    settings = job_settings(request.query_params, service.settings)
    other = settings.model_fields_set - set(SETTINGS)
    if other:
        raise UsageError(f"{', '.join(sorted(other))}: do not apply to skeletons; use {' and '.join(SETTINGS)}")
    return settings


async def _store(service: Service, request: Request, path: Path) -> None:
    """Write the body of a request as a skeleton file."""
    pace = service.settings.pace
    if request.headers.get("content-type", "").startswith("application/json"):
        body = await read_body(request, pace=pace)
        await asyncio.to_thread(_convert, body, path)
    else:
        check_length(request, MOST_BYTES)
        if not await save_body(request, path, MOST_BYTES, pace):
            raise ServiceError(422, "empty", "the body is empty; send a skeleton file, or JSON with annotations")


def _convert(body: bytes, path: Path) -> None:
    content = parse_json(body)
    clips = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(clips, list) or not clips or not all(isinstance(clip, dict) for clip in clips):
        raise ServiceError(422, "usage", 'the body must be {"annotations": [{"keypoint": ..., ...}, ...]}')
    annotations = [_annotation(clip, number) for number, clip in enumerate(clips)]
    write_pickle(path, {"split": {}, "annotations": annotations})


def _annotation(clip: dict[str, Any], number: int) -> dict[str, Any]:
    """Return an annotation of a skeleton file.

    Raises:
        ServiceError: An entry is unknown, missing, or not an array of numbers.
    """
    unknown = set(clip) - set(_ARRAYS) - _OTHERS
    if unknown or "keypoint" not in clip:
        problem = f"unknown entry {min(unknown)[:40]!r}" if unknown else "`keypoint` is missing"
        raise ServiceError(422, "usage", f"annotations[{number}]: {problem}; GET /docs describes the entries")
    found: dict[str, Any] = {"frame_dir": f"clip{number}", "label": UNLABELLED} | clip
    for name, kind in _ARRAYS.items():
        if name in clip:
            try:
                found[name] = np.asarray(clip[name], kind)
            except (TypeError, ValueError, OverflowError) as error:
                raise ServiceError(
                    422, "usage", f"annotations[{number}].{name}: is not an array of numbers ({error})"
                ) from error
    if isinstance(clip.get("img_shape"), list):
        found["img_shape"] = tuple(clip["img_shape"])
    if found["keypoint"].ndim != 4:
        shape = found["keypoint"].shape
        raise ServiceError(
            422, "usage", f"annotations[{number}].keypoint: has the shape {shape}; use [persons][frames][joints][x, y]"
        )
    found.setdefault("total_frames", found["keypoint"].shape[1])
    return found
