"""A request whose encoders are loaded and whose settings are resolved."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.protocols.clips import ClipSelection
from pipeline.protocols.recipe import Protocol, engine_for_protocols, parse_protocol, protocol_settings
from pipeline.protocols.request import ProtocolRequest
from pipeline.protocols.results import changes_of, folder_of
from pipeline.protocols.usage import check_request
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from pose_extraction.formats.shards.manifest import is_data_set
from recognition.pretraining.encoder import Pretrained, load_pretrained
from recognition.protocols.settings import ProtocolSettings
from recognition.run_names import newest_run


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A request whose encoders are loaded and whose settings are resolved.

    Args:
        protocol: The protocol.
        encoders: The encoders; the first one determines the clips and the result folder.
        recipes: Settings of the protocol for each encoder.
        selection: Selection of clips.
        engine: Device and precision.
        scratch: Whether the encoders have random weights.
        tell: Receives progress messages.
    """

    protocol: Protocol
    encoders: Sequence[Pretrained]
    recipes: Sequence[ProtocolSettings]
    selection: ClipSelection
    engine: Engine
    scratch: bool
    tell: Callable[[str], None]

    @property
    def first(self) -> Pretrained:
        """The first encoder."""
        return self.encoders[0]

    @property
    def settings(self) -> ProtocolSettings:
        """Settings for the first encoder."""
        return self.recipes[0]

    def make_folder(self, *, usual_split: str | None, usual_training: str | None) -> Path:
        """Create the result folder below the first run; options that equal their defaults do not change its name.

        Args:
            usual_split: Test split that is used by default; None if the file does not determine it.
            usual_training: Training split that is used by default; None if the file does not determine it.

        Raises:
            UsageError: The folder is not writable.
        """
        selection = self.selection
        return folder_of(
            self.protocol.word,
            selection.path,
            self.encoders,
            split=None if selection.split in (None, usual_split) else selection.split,
            train_split=None if selection.train_split in (None, usual_training) else selection.train_split,
            changes=[
                changes_of(own, protocol_settings(encoder.settings.method, ()))
                for encoder, own in zip(self.encoders, self.recipes, strict=True)
            ],
            scratch=self.scratch,
        )

    def refuse_known_clips(self, same: bool) -> None:
        """Refuse to transfer an encoder to the clips that it was pre-trained on.

        Args:
            same: Whether the clips are those of the pre-training.

        Raises:
            UsageError: They are, and the protocol is `transfer`.
        """
        if same and self.protocol.name == "transfer":
            raise UsageError("--protocol transfer: requires a file (--data) that the encoder was not pre-trained on")


def resolve_request(request: ProtocolRequest, tell: Callable[[str], None]) -> Measurement:
    """Load the encoders of a request and resolve its settings.

    Args:
        request: The request.
        tell: Receives progress messages.

    Raises:
        UsageError: An option is invalid, or the skeleton file does not exist.
        WeightsError: A run cannot be read.
        BackendError: The device is not available.
    """
    check_request(request)
    protocol = parse_protocol(request.protocol)
    engine = engine_for_protocols(request.device, request.precision)
    runs = [request.run if request.run is not None else newest_run(), *request.fuse]
    encoders = [load_pretrained(run) for run in runs]
    recipes = [protocol_settings(encoder.settings.method, request.pairs) for encoder in encoders]
    if request.scratch:
        encoders = [load_pretrained(run, scratch=True, seed=recipes[0].seed) for run in runs]
    own_file = encoders[0].settings.data.file
    path = request.data if request.data is not None else Path(own_file)
    measurement = Measurement(
        protocol=protocol,
        encoders=encoders,
        recipes=recipes,
        selection=ClipSelection(path, request.split, request.train_split, request.skip_bad, request.keypoint_files),
        engine=engine,
        scratch=request.scratch,
        tell=tell,
    )
    measurement.refuse_known_clips(request.data is None or str(request.data.resolve()) == own_file)
    if not is_data_set(path):
        raise UsageError(f"{path}: file not found; specify a skeleton file with --data")
    return measurement
