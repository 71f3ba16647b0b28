"""From RGB video to tracked COCO-17 skeletons to actions.

The functions correspond to the commands of the same names; the classes work on arrays in memory:

```python
import skelpipe

report = skelpipe.extract("videos/", estimator="vitpose")
run = skelpipe.train(report.data_set, "runs/mine")
for answer in skelpipe.predict("clip.mp4", run=run):
    print(answer.clip, answer.label, answer.probability)
```

Importing this package loads no large library. Each function and class imports what it needs when it is used.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skelpipe.shadowing import check_packages

check_packages(Path(__file__).resolve().parents[1])

from pose_extraction._version import __version__  # noqa: E402

if TYPE_CHECKING:
    from pipeline.datasets.exporting import Exported
    from pipeline.datasets.importing import Imported
    from pipeline.evaluate.evaluation import Evaluation
    from pipeline.extract.workflow import Report
    from pipeline.predict.answers import Answer
    from pipeline.predict.python_api import predict
    from pose_extraction.errors import SkelpipeError
    from pose_extraction.image_poses import ImagePoses as Poses
    from skelpipe.exchange import export_skeletons, import_skeletons
    from skelpipe.extraction import extract
    from skelpipe.pose_estimator import PoseEstimator
    from skelpipe.recognizer import Prediction, Recognizer
    from skelpipe.skeletons import read_skeletons, write_skeletons
    from skelpipe.training import evaluate, train

__all__ = [
    "Answer",
    "Evaluation",
    "Exported",
    "Imported",
    "PoseEstimator",
    "Poses",
    "Prediction",
    "Recognizer",
    "Report",
    "SkelpipeError",
    "__version__",
    "evaluate",
    "export_skeletons",
    "extract",
    "import_skeletons",
    "predict",
    "read_skeletons",
    "train",
    "write_skeletons",
]

# Module and name of each public object, imported at its first use; a test compares them with the imports above.
_PLACES = {
    "Answer": ("pipeline.predict.answers", "Answer"),
    "Evaluation": ("pipeline.evaluate.evaluation", "Evaluation"),
    "Exported": ("pipeline.datasets.exporting", "Exported"),
    "Imported": ("pipeline.datasets.importing", "Imported"),
    "PoseEstimator": ("skelpipe.pose_estimator", "PoseEstimator"),
    "Poses": ("pose_extraction.image_poses", "ImagePoses"),
    "Prediction": ("skelpipe.recognizer", "Prediction"),
    "Recognizer": ("skelpipe.recognizer", "Recognizer"),
    "Report": ("pipeline.extract.workflow", "Report"),
    "SkelpipeError": ("pose_extraction.errors", "SkelpipeError"),
    "evaluate": ("skelpipe.training", "evaluate"),
    "export_skeletons": ("skelpipe.exchange", "export_skeletons"),
    "extract": ("skelpipe.extraction", "extract"),
    "import_skeletons": ("skelpipe.exchange", "import_skeletons"),
    "predict": ("pipeline.predict.python_api", "predict"),
    "read_skeletons": ("skelpipe.skeletons", "read_skeletons"),
    "train": ("skelpipe.training", "train"),
    "write_skeletons": ("skelpipe.skeletons", "write_skeletons"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'skelpipe' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    value = getattr(import_module(module), attribute)
    # Found directly from now on.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
