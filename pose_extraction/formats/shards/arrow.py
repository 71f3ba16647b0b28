"""pyarrow, loaded only when a data set of shards is read or written."""

from types import ModuleType

from pose_extraction.errors import UsageError, installing


def arrow() -> ModuleType:
    """Return the module `pyarrow`, with its sub-modules `compute` and `parquet` loaded.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            f"data sets in Parquet shards need pyarrow, which is not installed; run {installing('parquet')}, or "
            "write one file with `skelpipe merge --to pickle`"
        ) from error
    return pyarrow
