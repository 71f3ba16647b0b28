"""The web application: all routes, around one `Service`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from pipeline.serve.given_videos import submit_given
from pipeline.serve.requests.errors import UniformErrors, add_error_handlers
from pipeline.serve.requests.guards import Guard
from pipeline.serve.routes.corrections import correction_routes
from pipeline.serve.routes.jobs import job_routes
from pipeline.serve.routes.results import result_routes, scene_routes
from pipeline.serve.routes.skeletons import skeleton_routes
from pipeline.serve.routes.system import system_routes
from pipeline.serve.routes.trainings import training_routes
from pipeline.serve.service import Service
from pipeline.serve.settings import ServeSettings
from pose_extraction._version import __version__


def create_app(settings: ServeSettings) -> FastAPI:
    """Create the application; its workers start with it.

    Args:
        settings: Settings of the service.

    Raises:
        UsageError: The data folder is in use, or belongs to another version.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        await submit_given(service, settings.videos)
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(title="skelpipe", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    add_error_handlers(app)
    for routes in (job_routes, result_routes, scene_routes, correction_routes, training_routes, skeleton_routes):
        app.include_router(routes(service))
    app.include_router(system_routes(service, app))
    app.add_middleware(UniformErrors)
    app.add_middleware(Guard, token=settings.token, local=settings.local, hosts=settings.hosts)
    return app
