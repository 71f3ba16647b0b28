"""Runs on the command line: paths, names of the package's recognizers, and addresses on a hub."""

from pathlib import Path

import typer


def run_path(run: str | None) -> Path | None:
    """Return the path of a run; for one on a hub, that of its weights in the cache. Its revision is printed.

    Args:
        run: Path, name, or hf://OWNER/NAME[@REVISION]; None for None.

    Raises:
        UsageError: It is not a valid address.
        WeightsError: There is no such run on the hub, or it cannot be downloaded.
    """
    if run is None:
        return None
    from recognition import hub

    address = hub.parse(run)
    if address is None:
        return Path(run)
    path = hub.fetch(address)
    typer.echo(f"{address}: using {hub.address_of(path)}", err=True)
    return path


def pinned(run: str | None) -> str | None:
    """Return a run, with its revision if it is on a hub; arguments and errors as `run_path`."""
    path = run_path(run)
    if path is None:
        return None
    from recognition import hub

    address = hub.address_of(path)
    return run if address is None else str(address)


def method_and_run(word: str) -> str:
    """Return `RUN` or `METHOD=RUN` with the path of a run on a hub; one without METHOD is named after its address."""
    from recognition import hub

    method, _, rest = word.rpartition("=")
    if hub.parse(rest) is None:
        return word
    path = run_path(rest)
    assert path is not None
    address = hub.address_of(path)
    assert address is not None and address.revision is not None
    return f"{method or f'{address.repo}@{address.revision[:8]}'}={path}"
