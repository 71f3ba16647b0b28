"""/v1/trainings: train on corrections, watch, accept or discard."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from pipeline.serve.records import DONE, Job
from pipeline.serve.requests.errors import ServiceError
from pipeline.serve.requests.uploads import read_json
from pipeline.serve.service import Service
from pipeline.serve.trainings import corrected_videos

_EXAMPLE = '{"jobs": ["ID", ...] or "all", "run": "ID", "settings": {...}}'


def training_routes(service: Service) -> APIRouter:
    """Return the routes of trainings."""
    routes = APIRouter(prefix="/v1/trainings", tags=["trainings"])

    @routes.post("", status_code=202)
    async def start(request: Request) -> JSONResponse:
        """Train a run on the corrections of jobs: `{"jobs": ["ID", ...] or "all", "run": "ID", "settings": {...}}`.
        "all" are the last corrected jobs of all videos. The training starts from `run`, the default one without it;
        `settings` are those of `skelpipe train`."""
        content = await read_json(request)
        if not isinstance(content, dict) or set(content) - {"jobs", "run", "settings"}:
            raise ServiceError(422, "usage", f"the body must be {_EXAMPLE}")
        run, settings = content.get("run"), content.get("settings") or {}
        if not isinstance(settings, dict) or not isinstance(run, str | None):
            raise ServiceError(422, "usage", f"the body must be {_EXAMPLE}")
        service.refuse_if_busy()
        jobs = await _jobs_of(service, content.get("jobs", "all"))
        training = await service.trainings.add(run, jobs, settings)
        return JSONResponse({"id": training.id}, 202, {"Location": f"/v1/trainings/{training.id}"})

    @routes.get("")
    async def listed() -> list[dict[str, Any]]:
        """List the trainings, the newest first."""
        found = await asyncio.to_thread(service.store.trainings)
        return [await asyncio.to_thread(service.trainings.describe, one) for one in found]

    @routes.get("/{training}")
    async def one(training: str) -> dict[str, Any]:
        """Return a training, with its curves and, at the end, the comparison with the earlier run."""
        found = await asyncio.to_thread(service.trainings.find, training)
        return await asyncio.to_thread(service.trainings.describe, found)

    @routes.post("/{training}/accept")
    async def accept(training: str, name: str | None = None) -> dict[str, Any]:
        """Make the new run the default of the service; the earlier one remains in the list."""
        found = await asyncio.to_thread(service.trainings.find, training)
        accepted = await service.trainings.accept(found, name)
        service.pool.describe(service.catalogue.get(accepted.run).path)
        return await asyncio.to_thread(service.trainings.describe, accepted)

    @routes.delete("/{training}")
    async def delete(training: str) -> Response:
        """Cancel a training that has not ended; discard one that has ended."""
        found = await asyncio.to_thread(service.trainings.find, training)
        cancelled = await service.trainings.delete(found)
        if cancelled is None:
            return Response(status_code=204)
        return JSONResponse(await asyncio.to_thread(service.trainings.describe, cancelled))

    return routes


async def _jobs_of(service: Service, given: Any) -> list[Job]:
    """Return the jobs with corrections that a training uses.

    Raises:
        ServiceError: A job does not exist, or is not done.
    """
    if given == "all":
        return await asyncio.to_thread(corrected_videos, service.store)
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ServiceError(422, "usage", f"the body must be {_EXAMPLE}")
    jobs = [await service.find(name) for name in dict.fromkeys(given)]
    unfinished = next((job for job in jobs if job.state != DONE), None)
    if unfinished is not None:
        raise ServiceError(409, "not_done", f"job {unfinished.id}: is {unfinished.state}; wait until it is done")
    return jobs
