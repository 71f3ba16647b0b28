"""Checks of a protocol request, before anything that takes seconds to load."""

from pipeline.config import changed
from pipeline.protocols.recipe import parse_protocol
from pipeline.protocols.request import ProtocolRequest
from pose_extraction.errors import UsageError
from pose_extraction.formats.shards.manifest import is_data_set
from recognition.protocols.settings import ProtocolSettings
from recognition.run_names import newest_run
from recognition.runs import saved_file


def check_request(request: ProtocolRequest) -> None:
    """Check names, keys and files of a request, before anything that takes seconds to load.

    Args:
        request: The request.

    Raises:
        UsageError: The protocol or a setting is unknown, or there is no such file or run.
        WeightsError: A run does not exist.
    """
    parse_protocol(request.protocol)
    # Only the keys, because the values must fit the recipe of the encoders' method.
    changed({}, request.pairs, {}, ProtocolSettings)
    for run in (request.run if request.run is not None else newest_run(), *request.fuse):
        saved_file(run)
    if request.data is not None and not is_data_set(request.data):
        raise UsageError(f"{request.data}: file not found; specify a skeleton file with --data")
    if request.keypoint_files is not None and not request.keypoint_files.is_dir():
        raise UsageError(f"--keypoint-files {request.keypoint_files}: folder not found")
