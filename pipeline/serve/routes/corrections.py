"""Corrections of the segments and identities of a job, all of them as a label table, and what to review first."""

import asyncio
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from pipeline.corrections.document import MOST_RESULTS, Corrections, as_json, check_persons, parse_corrections
from pipeline.corrections.review import items_of, least_certain
from pipeline.corrections.rows import label_rows
from pipeline.inputs.label_table import TableRow, rows_as_json, table_as_csv
from pipeline.serve import scene
from pipeline.serve.records import DONE, Job
from pipeline.serve.requests.errors import ServiceError
from pipeline.serve.requests.uploads import read_body
from pipeline.serve.service import Service
from pipeline.serve.store import Conflict
from pipeline.serve.trainings import corrected_videos, corrections_of
from pose_extraction.formats.annotations import read_data_set

# Jobs that are searched for segments to review, the newest first.
MOST_REVIEWED = 1000
# Largest document of corrections in bytes, enough for the largest number of segments.
MOST_BYTES = 96 << 20


def correction_routes(service: Service) -> APIRouter:
    """Return the routes of corrections."""
    routes = APIRouter(tags=["corrections"])

    async def finished(job: str) -> Job:
        found = await service.find(job)
        if found.state != DONE:
            raise ServiceError(409, "not_done", f"job {job}: is {found.state}, so there is nothing to correct")
        return found

    @routes.get("/v1/jobs/{job}/corrections")
    async def read(job: str) -> Response:
        """Return the corrections of a job; those without any change are the predictions."""
        found = await finished(job)
        stored = await asyncio.to_thread(service.store.corrections, found.id)
        version, content = stored or (0, await asyncio.to_thread(_initial, service, found))
        return _reply(content | {"version": version}, version)

    @routes.put("/v1/jobs/{job}/corrections")
    async def write(job: str, request: Request, if_match: Annotated[str | None, Header()] = None) -> Response:
        """Replace the corrections of a job; `If-Match` must have the version that was read."""
        found = await finished(job)
        body = await read_body(request, MOST_BYTES)
        document = await asyncio.to_thread(parse_corrections, body, place="corrections")
        persons = await asyncio.to_thread(scene.persons_in, service.folders.result(found.id))
        check_persons(document, persons)
        version = _version(if_match)
        try:
            content = json.loads(as_json(document))
            new = await asyncio.to_thread(
                service.store.correct, found.id, content, version, lessons=len(document.lessons)
            )
        except Conflict:
            raise ServiceError(
                412, "conflict", f"job {job}: its corrections were changed elsewhere; read them again"
            ) from None
        await service.announce(found.id)
        return _reply({"version": new}, new)

    @routes.get("/v1/corrections.{kind}")
    async def export(kind: str) -> Response:
        """Return the corrections of all videos as a label table for `skelpipe label` and `skelpipe extract`: CSV, or
        the same rows as JSON. Of a video that was analysed several times, those of the last corrected job count."""
        if kind not in ("csv", "json"):
            raise ServiceError(404, "not_found", f"corrections.{kind[:20]}: choose corrections.csv or corrections.json")
        rows = await asyncio.to_thread(lambda: list(_all_rows(service)))
        if kind == "json":
            return Response(json.dumps({"rows": rows_as_json(rows)}), media_type="application/json")
        return Response(table_as_csv(rows), media_type="text/csv; charset=utf-8")

    @routes.get("/v1/corrections")
    async def corrected() -> list[dict[str, Any]]:
        """List the videos with segments from which a training can learn, and the number of these segments. Of a video
        that was analysed several times, the last corrected job counts."""
        jobs = await asyncio.to_thread(corrected_videos, service.store)
        return [{"job": job.id, "name": job.name, "segments": job.reviewed} for job in reversed(jobs)]

    @routes.get("/v1/review")
    async def review(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[dict[str, Any]]:
        """List the segments of finished jobs that nobody has looked at, the least certain ones first."""
        found = await asyncio.to_thread(lambda: least_certain(list(_waiting(service))))
        return [
            {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in asdict(item).items()
            }
            for item in found[:limit]
        ]

    return routes


def _reply(content: dict[str, Any], version: int) -> Response:
    return Response(json.dumps(content), media_type="application/json", headers={"ETag": f'"{version}"'})


def _persons(service: Service, job: Job) -> dict[str, Any]:
    """Return the persons of a job with their segments, without the row of all persons together."""
    persons = scene.read_segments(service.folders.result(job.id))
    return {"persons": [person for person in persons if person["id"] is not None]}


def _initial(service: Service, job: Job) -> dict[str, Any]:
    """Return the predictions of a job as corrections.

    Raises:
        ServiceError: There are so many that they could not be saved after edits.
    """
    segments = [
        {
            "id": segment["id"],
            "person": person["id"],
            "start": segment["start"],
            "end": segment["end"],
            "label": None if segment["label"] == "unknown" else segment["label"],
        }
        for person in _persons(service, job)["persons"]
        for segment in person["segments"]
    ]
    if len(segments) > MOST_RESULTS:
        raise ServiceError(
            422,
            "too_many",
            f"job {job.id}: has {len(segments):,} segments, but at most {MOST_RESULTS:,} can be corrected; analyse the "
            "video in shorter parts, or with longer windows",
        )
    content: dict[str, Any] = json.loads(as_json(Corrections.model_validate({"segments": segments})))
    return content


def _all_rows(service: Service) -> Iterator[TableRow]:
    for job in corrected_videos(service.store):
        stored = service.store.corrections(job.id)
        if stored is None:
            continue
        folder = service.folders.result(job.id)
        (annotation,) = read_data_set(folder / "result.pkl")["annotations"]
        offset = -scene.start_of(folder, job.outcome)
        yield from label_rows(annotation, corrections_of(stored[1], job.id), file=job.name, offset=offset)


def _waiting(service: Service) -> Iterator[Any]:
    for job in service.store.jobs(state=DONE, limit=MOST_REVIEWED):
        stored = service.store.corrections(job.id)
        document = None if stored is None else corrections_of(stored[1], job.id)
        yield from items_of(job.id, job.name, _persons(service, job), document)


def _version(if_match: str | None) -> int | None:
    """Return the version in the header If-Match; None for any.

    Raises:
        ServiceError: It is missing or malformed.
    """
    if if_match is None:
        raise ServiceError(428, "version", "the header If-Match is missing; send the ETag that you have read, or *")
    if if_match.strip() == "*":
        return None
    text = if_match.strip().strip('"')
    if not (text.isascii() and text.isdecimal()) or len(text) > 15:
        raise ServiceError(400, "version", f"If-Match {if_match[:40]!r}: must be the ETag that you have read, or *")
    return int(text)
