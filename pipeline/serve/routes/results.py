"""Results of a job: answers, skeletons, videos, and what a page draws."""

import asyncio
import math
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import FileResponse

from pipeline.serve import scene
from pipeline.serve.records import DONE, Job
from pipeline.serve.requests.errors import ServiceError
from pipeline.serve.service import Service
from pipeline.serve.settings import OVERLAY_NAME, allowed_path

KINDS = {"json": "application/json", "csv": "text/csv; charset=utf-8", "pkl": "application/octet-stream"}
VIDEO_NAME = "video.mp4"


def result_routes(service: Service) -> APIRouter:
    """Return the routes of results."""
    routes = APIRouter(prefix="/v1/jobs/{job}", tags=["results"])

    @routes.get("/result.{kind}")
    async def result(job: str, kind: str) -> FileResponse:
        """Return the answers as JSON or CSV, or the skeletons as a skeleton file (pkl)."""
        found, folder = await _finished(service, job)
        if kind not in KINDS:
            raise ServiceError(404, "not_found", f"result.{kind[:20]}: choose one of result.{', result.'.join(KINDS)}")
        stem = Path(found.name).stem
        return FileResponse(folder / f"result.{kind}", media_type=KINDS[kind], filename=f"{stem}.{kind}")

    @routes.get("/overlay.mp4")
    async def overlay(job: str) -> FileResponse:
        """Return the video with skeletons, ids and actions, if the job was submitted with `overlay=true`."""
        found, folder = await _finished(service, job)
        path = folder / OVERLAY_NAME
        if not path.is_file():
            raise ServiceError(404, "not_found", f"job {found.id}: has no overlay; submit the video with overlay=true")
        return FileResponse(path, media_type="video/mp4", content_disposition_type="inline")

    @routes.get("/video")
    async def video(job: str) -> FileResponse:
        """Return the video, or a copy of it that browsers can play."""
        found, folder = await _finished(service, job)
        facts = found.outcome.get("video", {})
        own = service.folders.job(found.id) / found.source
        path = own if facts.get("plays") else folder / VIDEO_NAME
        named = Path(found.source).is_absolute() and path == own
        # A path that a client has named may have become a link to elsewhere, or its folder is no longer allowed.
        if not path.is_file() or (named and allowed_path(str(own), service.settings.allow) != own):
            raise ServiceError(404, "not_found", f"job {found.id}: its video {found.name} no longer exists")
        return FileResponse(path, media_type=facts.get("kind", "video/mp4"), content_disposition_type="inline")

    return routes


def scene_routes(service: Service) -> APIRouter:
    """Return the routes of what a page draws."""
    routes = APIRouter(prefix="/v1/jobs/{job}", tags=["scene"])

    @routes.get("/scene.json")
    async def whole_scene(job: str, accept_encoding: Annotated[str, Header()] = "") -> FileResponse:
        """Return persons, windows and segments."""
        _, folder = await _finished(service, job)
        headers = {"Vary": "Accept-Encoding"}
        path = folder / scene.SCENE_NAME
        if "gzip" in accept_encoding:
            path, headers["Content-Encoding"] = folder / scene.PACKED_NAME, "gzip"
        return FileResponse(path, media_type="application/json", headers=headers)

    @routes.get("/poses")
    async def poses(
        job: str, start: Annotated[float, Query()] = 0.0, end: Annotated[float, Query()] = math.inf
    ) -> Response:
        """Return the skeletons from `start` to `end`, in seconds of the video, in a binary format."""
        if math.isnan(start) or math.isnan(end) or end < start:
            raise ServiceError(422, "usage", f"start {start}, end {end}: end must not be before start")
        found, folder = await _finished(service, job)
        offset = await asyncio.to_thread(scene.start_of, folder, found.outcome)
        content = await asyncio.to_thread(scene.pack_poses, folder, offset, start, end)
        return Response(content, media_type="application/octet-stream")

    @routes.get("/attention")
    async def attention(job: str, person: Annotated[int, Query(ge=0)]) -> dict[str, Any]:
        """Return the attention of the joints of a person over time, where 1 is the mean over the joints."""
        found, folder = await _finished(service, job)
        offset = await asyncio.to_thread(scene.start_of, folder, found.outcome)
        return await asyncio.to_thread(scene.attention_of, folder, offset, person)

    return routes


async def _finished(service: Service, job: str) -> tuple[Job, Path]:
    """Return a finished job and the folder with its results.

    Raises:
        ServiceError: It does not exist, or is not finished.
    """
    found = await service.find(job)
    if found.state != DONE:
        why = f" ({found.error})" if found.error else "; follow its events"
        raise ServiceError(409, "not_done", f"job {found.id}: is {found.state}, so it has no results{why}")
    return found, service.folders.result(found.id)
