"""What a program that runs predictions can see of them besides the answers: progress, poses and single windows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

# Only for the type checker: wrong options are to be reported before these are loaded.
if TYPE_CHECKING:
    from pipeline.predict.persons import PersonId
    from pose_extraction.drawing.overlay import Stretch
    from pose_extraction.poses import VideoPoses
    from pose_extraction.video.reader import VideoInfo
    from recognition.inference.windows import Cell


class Observer:
    """Follows the prediction of videos. The methods do nothing; a subclass overrides those that it needs.

    An exception from a method ends the prediction like an interruption: incomplete files are removed.
    """

    def frame(self, info: "VideoInfo") -> None:
        """Called after the poses of each sampled frame.

        Args:
            info: Properties of the video.
        """

    def last_frame(self) -> None:
        """Called when the poses of all frames of a video are known, before its remaining predictions."""

    def poses(self, clip: str, video: "VideoPoses") -> None:
        """Called with the poses of a clip, in the order of the frames: of a skeleton file, or as in `settled`.

        Args:
            clip: Id of the clip.
            video: The poses of its next frames.
        """

    def settled(self, cells: "Sequence[Cell[PersonId]]", stretch: "Stretch") -> None:
        """Called with results that are final, in the order of the frames.

        Args:
            cells: Probabilities of each person, or of all persons together, per cell of the sliding windows; of the
                whole time that a person is visible if the video is classified as a whole.
            stretch: The poses of the next frames. Each sampled frame is in one stretch.
        """
