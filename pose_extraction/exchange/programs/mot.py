"""MOT15, the text format of the multiple object tracking challenge: boxes with identities, without joints."""

from pathlib import Path

from pose_extraction.exchange.clips import PoseClip
from pose_extraction.exchange.writing import corner_box, write_text


def write(clip: PoseClip, path: Path) -> None:
    """Write one line per pose: frame from 1, id from 1, left, top, width, height, score, and no position in 3D.

    The pixel in the top left corner is (1, 1), as the programs that read such files expect.
    """
    box, score = clip.box(), clip.mean_score()
    # Ids below 1 mean that there is none.
    first = 1 - min(int(clip.track_id.min(initial=1)), 1)
    lines = []
    for row, frame in enumerate(clip.frame_index.tolist()):
        for person in clip.persons_at(row):
            left, top, *sides = corner_box(box[person, row])
            numbers = ",".join(f"{value:.3f}" for value in (left + 1, top + 1, *sides))
            number = int(clip.track_id[person]) + first
            lines.append(f"{frame + 1},{number},{numbers},{score[person, row]:.4f},-1,-1,-1\n")
    write_text(path, "".join(lines))
