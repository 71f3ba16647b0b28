"""A real browser for tests and measurements of the page: the distribution's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

PAGE = Path(__file__).resolve().parents[2] / "pipeline" / "serve" / "page"
# With the value 1, tests of the page fail without a browser. Continuous integration sets it where it has one.
REQUIRED = "SKELPIPE_BROWSER_REQUIRED"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Milliseconds after which a test fails instead of waiting.
PATIENCE = 60_000
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def skip_reason() -> str | None:
    """Return why tests of the page are skipped; None if they run, or if they must fail without a browser."""
    return None if os.environ.get(REQUIRED) == "1" else missing_browser()


def check_browser() -> None:
    """Skip a test without a browser, or fail it where one is required."""
    missing = missing_browser()
    if missing is not None:
        reason = skip_reason()
        pytest.skip(reason) if reason is not None else pytest.fail(f"{REQUIRED}=1, but {missing}")


def missing_browser() -> str | None:
    """Return what is missing for a browser; None if nothing is."""
    if find_spec("playwright") is None:
        return "the package playwright is not installed"
    if not any(shutil.which(name) for name in NAMES):
        return f"no browser: none of {', '.join(NAMES)} is installed (on Debian: apt install chromium)"
    return None


@contextmanager
def running_browser() -> Iterator["Browser"]:
    """Start the browser, and end it with the block."""
    from playwright.sync_api import sync_playwright

    program = next(found for name in NAMES if (found := shutil.which(name)))
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root or in most containers.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: "Browser", **settings: Any) -> Iterator["Page"]:
    """Open a window of its own; afterwards, fail if the page had errors or broke its content security policy.

    Args:
        browser: The browser.
        settings: Settings of the window, such as `viewport`.
    """
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"{error}\n{error.stack}"))
    page.on("console", lambda message: problems.append(message.text) if _is_problem(message.text) else None)
    try:
        yield page
        assert not problems, problems
    finally:
        context.close()


def _is_problem(text: str) -> bool:
    return any(word in text for word in ("Content Security Policy", "Uncaught", "TypeError", "SyntaxError"))


@contextmanager
def opened_files(browser: "Browser") -> Iterator["Page"]:
    """Open a window that has the files of the page without a service, to run its modules alone."""
    with opened(browser) as page:
        page.route("**/*", _send_file)
        page.goto("http://localhost/")
        yield page


def _send_file(route: "Route") -> None:
    if route.request.url.endswith("/"):
        route.fulfill(body="<!doctype html><title>modules</title>", content_type="text/html")
        return
    path = PAGE / route.request.url.partition("/page/")[2]
    if path.suffix in KINDS and path.is_file():
        route.fulfill(body=path.read_bytes(), content_type=KINDS[path.suffix])
    else:
        route.fulfill(status=404)


def run_module(page: "Page", module: str, body: str, given: Any = None) -> Any:
    """Run JavaScript that uses a module of the page.

    Args:
        page: Window from `opened_files`.
        module: Path of the module below the folder of the page; its exports are in `m`.
        body: Body of an asynchronous function of `given`.
        given: Value for it.

    Returns:
        What the function returns.
    """
    return page.evaluate(f"async (given) => {{ const m = await import('/page/{module}'); {body} }}", given)
