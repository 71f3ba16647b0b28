"""A whole training, of anything: run directory, processes, and resuming. Subclasses describe what is trained."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from pydantic import BaseModel

from pose_extraction.errors import SkelpipeError
from recognition import run_folder, runs
from recognition.engine.memory import explain_out_of_memory
from recognition.engine.prepared_run import PreparedRun, Settings
from recognition.engine.processes import launch
from recognition.engine.training_run import RunTrainable, TrainingRun

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Prepared = TypeVar("Prepared", bound=PreparedRun[Any])


class Workflow(ABC, Generic[Settings, Prepared]):
    """The steps from settings to a finished run, the same for every kind of training.

    Attributes:
        about: Facts of a run file that `about.json` repeats.
    """

    about: tuple[str, ...]

    @abstractmethod
    def prepare(self, settings: Settings, checkpoint: dict[str, Any] | None) -> Prepared:
        """Open the data, and resolve settings.

        Args:
            settings: Settings of the run.
            checkpoint: Checkpoint to resume; None for a new run.
        """

    @abstractmethod
    def check_same(self, checkpoint: dict[str, Any], prepared: Prepared, *, run: str) -> None:
        """Refuse to resume with other data or settings.

        Args:
            checkpoint: Checkpoint of the run.
            prepared: Data and settings to resume with.
            run: Name of the run, for the message.

        Raises:
            UsageError: The data or a setting differ.
        """

    @abstractmethod
    def build(self, prepared: Prepared, *, rank: int, world_size: int) -> RunTrainable:
        """Build what is trained, from the seed of the run, for one of several processes."""

    def measure(self, prepared: Prepared, *, resumed: bool) -> Prepared:
        """Resolve settings that require a measurement; called once, before any process starts.

        Args:
            prepared: Data and settings.
            resumed: Whether the run has begun already.
        """
        return prepared

    def identity(self, prepared: Prepared) -> dict[str, Any]:
        """Return the content of every run file in addition to the weights."""
        clips = prepared.clips
        return run_folder.identity_of(
            cast(BaseModel, prepared.settings),
            label_names=prepared.label_names,
            layout=prepared.layout.name,
            num_joints=prepared.layout.num_joints,
            channels=prepared.channels,
            dimensions=clips.dimensions,
            estimator=clips.estimator,
            extraction=clips.extraction,
        ) | {"content_digest": prepared.content_digest}

    def network_facts(self, prepared: Prepared) -> dict[str, Any]:
        """Return facts about the network for `about.json`."""
        return {}

    def run(self, settings: Settings, *, resume: Path | None, show: bool, stop_after: int | None) -> Path:
        """Train, or resume a training.

        Args:
            settings: Settings of the run; "auto" values are resolved here.
            resume: Run directory to resume. `settings` must equal those of the run, except for those that may change.
            show: Whether to show progress on standard error.
            stop_after: Number of epochs after which to stop, as if the process was killed; None to train all.

        Returns:
            The run directory.
        """
        if resume is None and settings.out != "auto":
            # Check before the time-consuming preparation.
            run_folder.refuse_begun(Path(settings.out))
        checkpoint = last_checkpoint(resume) if resume is not None else None
        prepared = self.prepare(settings, checkpoint)
        # Each process loads its own copy.
        del checkpoint
        folder = resume or Path(prepared.settings.out)
        if resume is None:
            run_folder.refuse_begun(folder)
        prepared = self.measure(prepared.at(folder), resumed=resume is not None)
        launch(
            self._process,
            prepared.settings.training,
            prepared=prepared,
            settings=prepared.settings,
            resume=resume is not None,
            show=show,
            stop_after=stop_after,
        )
        return folder

    def _process(
        self,
        fabric: "Fabric",
        *,
        settings: Settings,
        prepared: Prepared | None,
        resume: bool,
        show: bool,
        stop_after: int | None,
    ) -> SkelpipeError | None:
        """Run one process of a training; return the error that stops all processes, see `launch`."""
        # With torchrun or srun, each process makes its own measurement; use that of the first process.
        settings = fabric.broadcast(settings)
        folder = Path(settings.out)
        checkpoint = last_checkpoint(folder) if resume else None
        prepared = (prepared or self.prepare(settings, checkpoint)).with_settings(settings)
        identity = self.identity(prepared)
        if checkpoint is not None:
            self.check_same(checkpoint, prepared, run=str(folder))
        elif fabric.is_global_zero:
            self._begin(folder, prepared, identity)
        training = TrainingRun(
            fabric,
            self.build(prepared, rank=fabric.global_rank, world_size=fabric.world_size),
            prepared,
            checkpoint,
            identity=identity,
            show=show and fabric.is_global_zero,
        )
        parts = 2 * settings.training.accumulate
        try:
            with explain_out_of_memory(
                f"{folder}: out of memory with batches of {settings.training.batch_size} clips; start again with "
                f"training.accumulate={parts}, which splits a step into {parts} parts, or with a smaller --batch-size"
            ):
                return training.run(stop_after)
        finally:
            training.close()

    def _begin(self, folder: Path, prepared: Prepared, identity: dict[str, Any]) -> None:
        facts = {name: identity[name] for name in self.about}
        run_folder.begin_run(
            folder,
            cast(BaseModel, prepared.settings),
            label_names=prepared.label_names,
            split=prepared.split(),
            about={"data": prepared.settings.data.file, **facts, **self.network_facts(prepared)},
        )


def last_checkpoint(run: Path) -> dict[str, Any]:
    """Load the checkpoint from which a run is resumed.

    Raises:
        WeightsError: The run does not exist, or its checkpoint is damaged.
    """
    return runs.load(runs.run_file(run, "last"))
