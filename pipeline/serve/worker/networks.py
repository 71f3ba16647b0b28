"""Networks that stay loaded in a worker."""

import io
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.extract.device import open_extractor
from pipeline.extract.plan import ExtractionPlan
from pipeline.predict.networks import plan_networks
from pipeline.predict.options import Networks
from pipeline.predict.skeleton_files import predictor_for
from pipeline.predict.workflow import load_network
from pipeline.serve.settings import check_licence
from pose_extraction.engines.engine import Engine
from pose_extraction.extraction import PoseExtractor
from pose_extraction.skeleton import COCO17
from recognition.data.clip import ClipFormat
from recognition.inference.clip_predictor import ClipPredictor
from recognition.inference.exported_run import ExportedRun
from recognition.inference.skeleton_clips import check_layout
from recognition.runs import Trained, detector_file, is_exported

if TYPE_CHECKING:
    from recognition.protocols.detector import ActionDetector

# Combinations of a run and networks of stage one that stay in memory.
KEPT = 2


@dataclass(frozen=True)
class Loaded:
    """A run with the networks of stage one.

    Args:
        trained: The recognizer, action detector or exported recognizer.
        plan: Networks and settings of stage one.
        extractor: Stage one.
        predictor: Stage two.
    """

    trained: "Trained | ActionDetector | ExportedRun"
    plan: ExtractionPlan
    extractor: PoseExtractor
    predictor: ClipPredictor


class NetworkCache:
    """Loads runs and networks, and keeps the latest ones.

    Args:
        engine: Device, backend, precision and batch size.
        allow_agpl: Whether networks under the AGPL may be loaded.
    """

    def __init__(self, engine: Engine, allow_agpl: bool) -> None:
        self._engine, self._allow_agpl = engine, allow_agpl
        self._runs: dict[tuple[Path, int], Trained | ActionDetector | ExportedRun] = {}
        self._loaded: dict[tuple[Path, int, Networks], Loaded] = {}
        self._lock = threading.Lock()

    def run(self, path: Path) -> "Trained | ActionDetector | ExportedRun":
        """Return a run; it is read again if it has changed.

        Raises:
            WeightsError: It cannot be read.
            BackendError: It needs torch, which is not installed.
        """
        with self._lock:
            key = (path, _changed(path))
            found = self._runs.get(key)
            if found is None:
                found = load_network(path, None if is_exported(path) else detector_file(path))
                _keep(self._runs, key, found, 2 * KEPT)
            return found

    def get(self, path: Path, networks: Networks) -> Loaded:
        """Return a run with the networks of stage one.

        Raises:
            SkelpipeError: A network cannot be loaded, or does not fit the run.
        """
        key = (path, _changed(path), networks)
        found = self._loaded.get(key)
        if found is None:
            trained = self.run(path)
            check_layout(trained, ClipFormat(path, COCO17))
            plan = plan_networks(trained, networks, self._engine, Console(file=io.StringIO()))
            for network in (plan.estimator, plan.detector):
                if network is not None and network.entry is not None:
                    check_licence(network.entry, self._allow_agpl)
            predictor = predictor_for(trained, self._engine)
            predictor.prepare()
            found = Loaded(trained, plan, open_extractor(plan), predictor)
            _keep(self._loaded, key, found, KEPT)
        return found


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _keep(held: dict, key: object, value: object, most: int) -> None:
    """Add an entry, and drop the oldest ones."""
    held[key] = value
    while len(held) > most:
        held.pop(next(iter(held)))
