"""State of the service, its runs and measurements, the page, and a description of all addresses."""

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from pipeline.serve.requests.errors import ServiceError
from pipeline.serve.routes.jobs import follow
from pipeline.serve.routes.reference import reference_page
from pipeline.serve.service import Service

PAGE = Path(__file__).parents[1] / "page"
# Files of the page, by suffix.
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
}


def system_routes(service: Service, app: FastAPI) -> APIRouter:
    """Return the routes that do not belong to a job."""
    routes = APIRouter(tags=["service"])

    @routes.get("/livez")
    async def live() -> dict[str, str]:
        """Return whether the process answers."""
        return {"status": "ok"}

    @routes.get("/readyz")
    async def ready() -> JSONResponse:
        """Return whether jobs can be processed: networks loaded, enough disk space, not stopping."""
        trouble = service.pool.trouble()
        if service.pool.draining:
            trouble = "the service is stopping"
        elif service.folders.free() < service.settings.least_free:
            trouble = f"only {service.folders.free():,} bytes of disk space are free"
        return JSONResponse({"status": trouble or "ok"}, 200 if trouble is None else 503)

    @routes.get("/metrics")
    async def metrics() -> Response:
        """Return measurements for Prometheus."""
        requests = service.pool.requests()
        text = await asyncio.to_thread(service.metrics.text, service.store, service.folders.free(), requests)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @routes.get("/v1/runs")
    async def runs() -> list[dict[str, Any]]:
        """List the runs that jobs can use."""
        return service.catalogue.as_list()

    @routes.get("/v1/events", response_class=EventSourceResponse)
    async def events(last_event_id: Annotated[str | None, Header()] = None) -> AsyncIterable[ServerSentEvent]:
        """Follow all jobs and trainings."""
        async for event in follow(service, last_event_id, None):
            yield event

    @routes.get("/docs", response_class=HTMLResponse)
    async def docs() -> HTMLResponse:
        """Return a description of all addresses."""
        return HTMLResponse(reference_page(app.openapi()))

    @routes.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return _page_file("index.html")

    @routes.get("/page/{name:path}", include_in_schema=False)
    async def page_file(name: str) -> FileResponse:
        return _page_file(name)

    return routes


def _page_file(name: str) -> FileResponse:
    path = PAGE / name
    if PAGE not in path.parents or ".." in path.parts or path.suffix not in KINDS or not path.is_file():
        raise ServiceError(404, "not_found", f"/page/{name[:80]}: is not a file of the page")
    return FileResponse(path, media_type=KINDS[path.suffix], headers={"Cache-Control": "no-cache"})
