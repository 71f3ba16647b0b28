"""Corrections of the segments and identities of a job."""

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from pipeline.serve import scene
from pipeline.serve.errors import ServiceError
from pipeline.serve.service import Service
from pipeline.serve.store import DONE, Conflict
from pipeline.serve.uploads import read_json


def correction_routes(service: Service) -> APIRouter:
    """Return the routes of corrections."""
    routes = APIRouter(tags=["corrections"])

    async def initial(job: str) -> dict[str, Any]:
        content = await asyncio.to_thread(scene.read_scene, service.folders.result(job))
        segments = [
            {
                "id": segment["id"],
                "person": person["id"],
                "start": segment["start"],
                "end": segment["end"],
                "label": None if segment["label"] == "unknown" else segment["label"],
                "source": "model",
                "rejected": False,
                "reviewed": False,
            }
            for person in content["persons"]
            if person["id"] is not None
            for segment in person["segments"]
        ]
        return {"version": 0, "segments": segments, "identities": [], "classes": []}

    @routes.get("/v1/jobs/{job}/corrections")
    async def read(job: str) -> Response:
        """Return the corrections of a job; those without any change are the predictions."""
        found = await service.find(job)
        if found.state != DONE:
            raise ServiceError(409, "not_done", f"job {job}: is {found.state}, so there is nothing to correct")
        stored = await asyncio.to_thread(service.store.corrections, job)
        version, content = stored or (0, await initial(job))
        content["version"] = version
        return Response(json.dumps(content), media_type="application/json", headers={"ETag": f'"{version}"'})

    @routes.put("/v1/jobs/{job}/corrections")
    async def write(job: str, request: Request, if_match: Annotated[str | None, Header()] = None) -> Response:
        """Replace the corrections of a job; `If-Match` must have the version that was read."""
        found = await service.find(job)
        if found.state != DONE:
            raise ServiceError(409, "not_done", f"job {job}: is {found.state}, so there is nothing to correct")
        content = await read_json(request)
        if not isinstance(content, dict):
            raise ServiceError(422, "usage", "the corrections must be a JSON object")
        version = _version(if_match)
        try:
            new = await asyncio.to_thread(service.store.correct, job, content, version)
        except Conflict:
            raise ServiceError(
                412, "conflict", f"job {job}: its corrections were changed elsewhere; read them again"
            ) from None
        return Response(json.dumps({"version": new}), media_type="application/json", headers={"ETag": f'"{new}"'})

    return routes


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
