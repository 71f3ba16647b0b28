"""/v1/jobs: submit, list, follow and delete."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterable, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from pipeline.serve.folders import display_name, input_name
from pipeline.serve.records import OPEN, STATES, Job
from pipeline.serve.requests.errors import ServiceError
from pipeline.serve.requests.uploads import check_length, read_json, save_body, save_form
from pipeline.serve.service import Service, check_same_request
from pipeline.serve.settings import JobSettings, allowed_path, job_settings
from pose_extraction.video.image_files import IMAGE_SUFFIXES

# Jobs in one answer.
MOST_LISTED = 1000
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_NUMBER = re.compile(r"\d{1,18}")
SKELETONS = (".pkl", ".pickle")


def job_routes(service: Service) -> APIRouter:
    """Return the routes of jobs."""
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])

    @routes.post("", status_code=202)
    async def submit(
        request: Request, idempotency_key: Annotated[str | None, Header(max_length=200)] = None
    ) -> JSONResponse:
        """Submit a video: as the body with its name in `?name=`, as the field `file` of a form, or as JSON
        `{"path": ..., "settings": {...}}` for a file in an allowed folder. Settings are query parameters or fields of
        the form; they have the names and meanings of the options of `skelpipe predict`."""
        return await _submit(service, request, idempotency_key)

    @routes.get("")
    async def listed(
        state: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
        before: str | None = None,
    ) -> dict[str, Any]:
        """List the jobs, the newest first, in pages: `before` is the entry `next` of the previous page."""
        if state is not None and state not in STATES:
            raise ServiceError(422, "usage", f"state {state[:40]}: must be one of {', '.join(STATES)}")
        found = await asyncio.to_thread(service.store.jobs, state=state, limit=limit + 1, before=before)
        jobs = found[:limit]
        following = jobs[-1].id if len(found) > limit else None
        return {"jobs": [service.describe(job) for job in jobs], "next": following}

    @routes.get("/{job}")
    async def one(job: str) -> dict[str, Any]:
        """Return a job."""
        return service.describe(await service.find(job))

    @routes.get("/{job}/events", response_class=EventSourceResponse)
    async def events(job: str, last_event_id: Annotated[str | None, Header()] = None) -> AsyncIterable[ServerSentEvent]:
        """Follow a job until it ends."""
        found = await service.find(job)
        async for event in follow(service, last_event_id, found):
            yield event

    @routes.delete("/{job}")
    async def delete(job: str) -> Response:
        """Cancel a job that has not ended; remove one that has ended."""
        cancelled = await service.delete(await service.find(job))
        return Response(status_code=204) if cancelled is None else JSONResponse(service.describe(cancelled))

    return routes


async def follow(service: Service, last: str | None, job: Job | None) -> AsyncIterable[ServerSentEvent]:
    """Yield the events of one job until it ends, or of all jobs until the service stops.

    Args:
        service: The service.
        last: Number of the last event that the client has received. Without it, or if events after it are no longer
            known, the stream begins with the current state.
        job: The job; None for all jobs.
    """
    events = service.events
    number = int(last) if last is not None and _NUMBER.fullmatch(last) else -1
    newest = events.newest
    if job is not None:
        # Read after the number of the newest event, so that an end in between is not lost.
        job = await service.find(job.id)
    # The stream of a job that has ended consists of its state, also for a client that reconnects.
    if not events.knows(number) or (job is not None and job.state not in OPEN):
        number = newest
        for one in [job] if job is not None else await _open_jobs(service):
            yield ServerSentEvent(event="state", id=str(number), raw_data=json.dumps(service.describe(one)))
        if job is not None and job.state not in OPEN:
            return
    async for event in events.after(number, None if job is None else job.id):
        yield ServerSentEvent(event=event.kind, id=str(event.number), raw_data=event.data)
        if job is not None and event.kind == "state" and json.loads(event.data)["state"] not in OPEN:
            return
    yield ServerSentEvent(event="end", raw_data="{}")


async def _open_jobs(service: Service) -> list[Job]:
    jobs: list[Job] = []
    for state in OPEN:
        jobs += await asyncio.to_thread(service.store.jobs, state=state)
    return jobs


async def _submit(service: Service, request: Request, key: str | None) -> JSONResponse:
    if key is not None and not _KEY.fullmatch(key):
        raise ServiceError(400, "header", "Idempotency-Key: must be 1 to 200 printable characters without spaces")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        job = await _submit_path(service, request, key)
    else:
        job = await _submit_upload(service, request, key, is_form=kind == "multipart/form-data")
    return JSONResponse({"id": job.id}, 202, {"Location": f"/v1/jobs/{job.id}"})


async def _known(service: Service, key: str | None, described: str) -> Job | None:
    """Return the job of an earlier request with the same key."""
    if key is None:
        return None
    job = await asyncio.to_thread(service.store.by_key, key)
    if job is not None:
        check_same_request(job, described)
    return job


def _describe_request(name: str, settings: JobSettings, source: str) -> str:
    text = json.dumps([name, settings.model_dump(exclude_unset=True), source], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _settings(service: Service, values: Mapping[str, Any]) -> JobSettings:
    """Parse the settings of a job, and check that its run exists, before anything is stored.

    Raises:
        UsageError: A setting is wrong, or there is no such run.
    """
    settings = job_settings(values, service.settings)
    service.catalogue.get(settings.run)
    return settings


async def _submit_path(service: Service, request: Request, key: str | None) -> Job:
    content = await read_json(request)
    if not isinstance(content, dict) or not isinstance(content.get("path"), str):
        raise ServiceError(422, "usage", 'the body must be {"path": "/videos/clip.mp4", "settings": {...}}')
    values = content.get("settings", {}) or {}
    if not isinstance(values, dict) or set(content) - {"path", "settings"}:
        raise ServiceError(
            422, "usage", "the body has other entries than `path` and `settings`, which must be an object"
        )
    settings = _settings(service, {**request.query_params, **values})
    given: str = content["path"]
    path = await asyncio.to_thread(allowed_path, given, service.settings.allow)
    if path is None:
        raise ServiceError(
            403,
            "path",
            f"path {given[:200]!r}: is not an existing file in a folder that was given with --allow; upload it instead",
        )
    _refuse_other_files(path.name)
    if not await asyncio.to_thread(_is_video, path):
        raise ServiceError(422, "usage", f"path {given[:200]!r}: is neither a file nor a folder of images")
    name = display_name(given.rstrip("/"))
    described = _describe_request(name, settings, str(path))
    known = await _known(service, key, described)
    if known is not None:
        return known
    service.refuse_if_busy()
    job, _ = await asyncio.to_thread(service.folders.begin)
    return await service.submit(job, name, settings, str(path), size=None, key=key, request=described)


def _is_video(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(one.suffix.lower() in IMAGE_SUFFIXES for one in path.iterdir()))


def _refuse_other_files(name: str) -> None:
    if name.lower().endswith(SKELETONS):
        raise ServiceError(
            415, "kind", f"{name}: is a skeleton file, not a video; POST it to /v1/skeletons:predict instead"
        )


async def _submit_upload(service: Service, request: Request, key: str | None, *, is_form: bool) -> Job:
    query = dict(request.query_params)
    name = display_name(query.pop("name", ""))
    settings = _settings(service, query)
    if not is_form:
        # Before the body is read. A form names its file inside.
        _refuse_other_files(name)
        known = await _known(service, key, _describe_request(name, settings, ""))
        if known is not None:
            return known
    check_length(request, service.settings.most_upload)
    service.refuse_if_busy(int(request.headers.get("content-length", "0")))
    job, folder = await asyncio.to_thread(service.folders.begin)
    with service.receiving():
        try:
            if is_form:
                name, settings, source = await _save_form(service, request, folder, query)
            else:
                source = input_name(name)
                await save_body(request, folder / source, service.settings.most_upload, service.settings.pace)
            size = (folder / source).stat().st_size
            if not size:
                raise ServiceError(
                    422, "empty", f"{name}: the body is empty; send the video as the body of the request"
                )
        except BaseException:
            await asyncio.shield(asyncio.to_thread(service.folders.refuse, job))
            raise
        described = _describe_request(name, settings, "")
        return await service.submit(job, name, settings, source, size=size, key=key, request=described)


async def _save_form(
    service: Service, request: Request, folder: Path, query: dict[str, str]
) -> tuple[str, JobSettings, str]:
    """Return the name of the video, the settings, and the name of the stored file."""
    stored: list[str] = []

    def begin_file(given: str) -> BinaryIO:
        name = display_name(given)
        _refuse_other_files(name)
        stored.append(input_name(name))
        return (folder / stored[0]).open("wb", buffering=0)

    given, fields = await save_form(request, service.settings.most_upload, service.settings.pace, begin_file)
    settings = _settings(service, {**query, **fields})
    return display_name(given), settings, stored[0]
