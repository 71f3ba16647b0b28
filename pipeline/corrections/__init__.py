"""What a person corrected in the result of a video, and training on these corrections. Loads torch to train only."""

from pipeline.corrections.document import (
    Corrections,
    Join,
    Segment,
    Swap,
    as_json,
    check_persons,
    initial_corrections,
    parse_corrections,
)
from pipeline.corrections.identities import corrected
from pipeline.corrections.progress import Progress, progress_of
from pipeline.corrections.retraining import CorrectedVideo, Retraining, check_retraining, retrain
from pipeline.corrections.review import ReviewItem, items_of, least_certain
from pipeline.corrections.rows import label_rows

__all__ = [
    "CorrectedVideo",
    "Corrections",
    "Join",
    "Progress",
    "Retraining",
    "ReviewItem",
    "Segment",
    "Swap",
    "as_json",
    "check_persons",
    "check_retraining",
    "corrected",
    "initial_corrections",
    "items_of",
    "label_rows",
    "least_certain",
    "parse_corrections",
    "progress_of",
    "retrain",
]
