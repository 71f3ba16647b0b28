"""Who is who: identities over time for the poses that an estimator finds frame by frame.

Every track remembers its last pose and a velocity, and is asked where it should be now; detections and tracks are then
matched by how well pose and box agree with that (OKS and IoU, SciPy's assignment). All clocks run in seconds, so that
frame rate, stride and uneven time stamps change nothing but how unsure the prediction is.

The velocity comes from a Kalman filter on the body's place, one for both axes, in units of body size, whose velocity
decays: people do not walk on for ever behind a pillar. Two rounds of matching as in ByteTrack (Zhang et al. 2022):
detections of a high score first, then those of a low score, which may continue a track but not start one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.optimize import linear_sum_assignment

from pose_extraction.errors import UsageError
from pose_extraction.oks import OUTLINE_SHARE, box_area, box_centre, box_iou, oks
from pose_extraction.poses import FramePoses, PoseTrack

# How fast somebody new may be moving, in body sizes a second: one standard deviation.
FIRST_SPEED = 1.5


@dataclass(frozen=True)
class TrackerSettings:
    """How a `Tracker` decides. Lengths are in body sizes (square root of the box's area), times in seconds.

    The second round sees only scores from `low_score` to `high_score`, and a detector that drops boxes below its own
    threshold (0.3 by default) leaves it the narrow band above that: lower the threshold to give it more.

    Args:
        high_score: Box score from which a detection may start a track and is matched first.
        low_score: Box score below which a detection is ignored.
        patience: How long a track is kept after it was last seen.
        first_patience: The same for a track that is younger than `trial` (most false alarms never come back), but no
            less than two frames and a half.
        trial: Age from which a track is trusted.
        oks_share: Weight of OKS against IoU in the affinity, in [0, 1].
        gate: Affinity below which a detection is never matched in the first round.
        low_gate: The same in the second round.
        age_cost: Affinity that a track loses between being just seen and being given up, so that the last seen wins.
        decay: Time constant of the velocity.
        agility: Spectral density of the acceleration, body sizes^2 / s^3: how quickly people change their mind.
        place_noise: Standard deviation of a body's measured place.
        widest: Standard deviation of the predicted place beyond which a match is not made easier.
        cut_share: A frame in which no more than this share of people agrees with any track is a camera cut.
        cut_affinity: Affinity from which a detection agrees with a track, for telling a cut.
    """

    high_score: float = 0.4
    low_score: float = 0.1
    patience: float = 1.5
    first_patience: float = 0.3
    trial: float = 0.1
    oks_share: float = 0.8
    gate: float = 0.1
    low_gate: float = 0.3
    age_cost: float = 0.2
    decay: float = 4.0
    agility: float = 1.0
    place_noise: float = 0.05
    widest: float = 0.7
    cut_share: float = 0.25
    cut_affinity: float = 0.3

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not np.isfinite(value) or value < 0:
                raise UsageError(f"tracker setting {item.name} is {value}: give a number of at least 0")
        for name in ("decay", "place_noise"):
            if getattr(self, name) == 0:
                raise UsageError(f"tracker setting {name} is 0: give a number above 0")


@dataclass(slots=True)
class _Tracks:
    """All live tracks, one row each; a new person is a new row, a track given up is a row less."""

    ids: np.ndarray  # int64 (N,)
    keypoint: np.ndarray  # (N, V, 2) pixels, last known place of every joint
    box: np.ndarray  # (N, 4) pixels
    size: np.ndarray  # (N,) body size in pixels
    velocity: np.ndarray  # (N, 2) pixels a second
    covariance: np.ndarray  # (N, 3) variance of place, covariance with velocity, variance of velocity; in body sizes
    born: np.ndarray  # (N,) seconds
    seen: np.ndarray  # (N,) seconds

    def rows(self, chosen: np.ndarray) -> "_Tracks":
        return _Tracks(*(getattr(self, item.name)[chosen] for item in fields(self)))

    def joined(self, other: "_Tracks") -> "_Tracks":
        return _Tracks(*(np.concatenate((getattr(self, f.name), getattr(other, f.name))) for f in fields(self)))


class Tracker:
    """Gives the poses of one video their identities, frame after frame.

    Args:
        settings: How it decides.
        size: (height, width) of the frame in pixels; a track whose predicted body has left it is given up.
    """

    def __init__(self, settings: TrackerSettings, size: tuple[int, int]) -> None:
        self._settings = settings
        self._bounds = np.array([size[1], size[0]], float)
        self._tracks: _Tracks | None = None
        self._next_id = 0
        self._time = -np.inf
        self._interval = np.inf
        self._first_patience = settings.first_patience

    def forget(self) -> None:
        """Gives up every track, as after a camera cut: whoever comes next is somebody new."""
        self._tracks = None

    def update(self, poses: FramePoses) -> np.ndarray:
        """Matches one frame's poses with the tracks.

        A person has an identity from the first frame on, before the track has proved itself; which tracks are too short
        to be believed is for `cleaning` to say, when they are whole.

        Args:
            poses: The frame, later than the one before.

        Returns:
            int64 (M,) identities, from 0 up in order of appearance; -1 for a detection of too low a score that
            continues no track.

        Raises:
            UsageError: If the frame is not later than the one before.
        """
        if poses.time <= self._time:
            raise UsageError(
                f"frame {poses.frame_index} at {poses.time} s is not after {self._time} s: sort the frames"
            )
        settings = self._settings
        # Where frames are far apart a new track must still be allowed to miss a frame or two. A single hole in the
        # stream says nothing about that, hence the shorter of the last two intervals.
        interval = poses.time - self._time
        if np.isfinite(interval):
            self._first_patience = max(settings.first_patience, 2.5 * min(interval, self._interval))
            self._interval = interval
        self._time = poses.time
        ids = np.full(poses.num_persons, -1, np.int64)
        free = poses.box_score >= settings.low_score
        high = poses.box_score >= settings.high_score
        keypoint, box = poses.keypoint.astype(float), poses.box.astype(float)
        if self._tracks is not None:
            self._give_up_old()
        if self._tracks is not None and free.any():
            keypoint_now, box_now, covariance = self._predict()
            affinity = self._affinity(keypoint_now, box_now, covariance, keypoint, box)
            if self._is_cut(affinity, high):
                self.forget()
            else:
                matches = self._match(affinity, free, high)
                self._follow(*matches, keypoint, box, keypoint_now, box_now, covariance)
                ids[matches[1]] = self._tracks.ids[matches[0]]
        fresh = np.flatnonzero(high & (ids < 0))
        if len(fresh):
            ids[fresh] = np.arange(self._next_id, self._next_id + len(fresh))
            self._next_id += len(fresh)
            self._start(ids[fresh], keypoint[fresh], box[fresh])
        return ids

    def _give_up_old(self) -> None:
        tracks, settings = self._tracks, self._settings
        assert tracks is not None
        patience = np.where(
            tracks.seen - tracks.born >= settings.trial,
            max(settings.patience, self._first_patience),
            self._first_patience,
        )
        kept = self._time - tracks.seen <= patience
        if not kept.all():
            self._tracks = tracks.rows(kept) if kept.any() else None

    def _predict(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where every track should be now: keypoint (N, V, 2), box (N, 4), covariance (N, 3)."""
        tracks, settings = self._tracks, self._settings
        assert tracks is not None
        elapsed = self._time - tracks.seen
        kept = np.exp(-elapsed / settings.decay)
        reach = settings.decay * (1 - kept)
        shift = tracks.velocity * reach[:, None]
        place, mixed, speed = tracks.covariance.T
        covariance = np.empty_like(tracks.covariance)
        covariance[:, 0] = place + reach * (2 * mixed + reach * speed) + settings.agility * elapsed**3 / 3
        covariance[:, 1] = kept * (mixed + reach * speed) + settings.agility * elapsed**2 / 2
        covariance[:, 2] = kept**2 * speed + settings.agility * elapsed
        return tracks.keypoint + shift[:, None], tracks.box + np.tile(shift, 2), covariance

    def _affinity(
        self,
        keypoint_now: np.ndarray,
        box_now: np.ndarray,
        covariance: np.ndarray,
        keypoint: np.ndarray,
        box: np.ndarray,
    ) -> np.ndarray:
        """How well tracks (N) and detections (M) agree, (N, M) in [0, 1]."""
        tracks, settings = self._tracks, self._settings
        assert tracks is not None
        area = OUTLINE_SHARE * tracks.size**2
        slack = np.minimum(covariance[:, 0], settings.widest**2) / OUTLINE_SHARE
        alike = oks(keypoint_now[:, None], keypoint[None], area[:, None], slack=slack[:, None])
        age = (self._time - tracks.seen) / max(settings.patience, 1e-9)
        affinity = settings.oks_share * alike + (1 - settings.oks_share) * box_iou(box_now, box)
        return affinity - (settings.age_cost * age)[:, None]

    def _is_cut(self, affinity: np.ndarray, high: np.ndarray) -> bool:
        """Whether the picture has changed under the tracks: people there before, people there now, not the same."""
        tracks, settings = self._tracks, self._settings
        assert tracks is not None
        recent = (tracks.seen - tracks.born >= settings.trial) & (self._time - tracks.seen <= self._first_patience)
        possible = min(int(recent.sum()), int(high.sum()))
        if possible < 2:
            return False
        agreeing = (affinity[recent][:, high] >= settings.cut_affinity).any(0).sum()
        return bool(agreeing <= settings.cut_share * possible)

    def _match(self, affinity: np.ndarray, free: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two rounds of assignment; rows of tracks and of detections."""
        settings = self._settings
        left = np.ones(len(affinity), bool)
        rows, columns = [], []
        for chosen, gate in ((high, settings.gate), (free & ~high, settings.low_gate)):
            if not (chosen.any() and left.any()):
                continue
            some, others = np.flatnonzero(left), np.flatnonzero(chosen)
            part = affinity[some[:, None], others]
            # What the gate forbids must not be bought by what it gains elsewhere: it counts as nothing.
            part = np.where(part >= gate, part, 0.0)
            row, column = linear_sum_assignment(part, maximize=True)
            good = part[row, column] > 0
            rows.append(some[row[good]])
            columns.append(others[column[good]])
            left[rows[-1]] = False
        if not rows:
            return np.zeros(0, int), np.zeros(0, int)
        return np.concatenate(rows), np.concatenate(columns)

    def _follow(
        self,
        rows: np.ndarray,
        columns: np.ndarray,
        keypoint: np.ndarray,
        box: np.ndarray,
        keypoint_now: np.ndarray,
        box_now: np.ndarray,
        covariance: np.ndarray,
    ) -> None:
        """Moves the matched tracks (`rows`) to their detections (`columns`): the Kalman filter's second half."""
        tracks, settings = self._tracks, self._settings
        assert tracks is not None
        found, expected = keypoint[columns], keypoint_now[rows]
        offset = found - expected
        unseen = np.isnan(offset)
        count = unseen.shape[1] - unseen[..., 0].sum(-1)
        surprise = np.where(unseen, 0.0, offset).sum(1) / np.maximum(count, 1)[:, None]
        without = count == 0
        if without.any():
            surprise[without] = (box_centre(box[columns]) - box_centre(box_now[rows]))[without]
        place, mixed, speed = covariance[rows].T
        gain = 1 / (place + settings.place_noise**2)
        decay = np.exp(-(self._time - tracks.seen[rows]) / settings.decay)
        tracks.velocity[rows] = tracks.velocity[rows] * decay[:, None] + (mixed * gain)[:, None] * surprise
        tracks.covariance[rows, 0] = place * (1 - place * gain)
        tracks.covariance[rows, 1] = mixed * (1 - place * gain)
        tracks.covariance[rows, 2] = speed - mixed * mixed * gain
        # A joint that was not seen now is remembered where it would have moved with the body.
        lost = np.isnan(found)
        tracks.keypoint[rows] = np.where(lost, expected, found)
        tracks.box[rows] = box[columns]
        tracks.size[rows] += 0.3 * (_body_size(box[columns]) - tracks.size[rows])
        tracks.seen[rows] = self._time

    def _start(self, ids: np.ndarray, keypoint: np.ndarray, box: np.ndarray) -> None:
        """Adds one track for each of the given detections."""
        count = len(ids)
        size = _body_size(box)
        covariance = np.tile([self._settings.place_noise**2, 0.0, FIRST_SPEED**2], (count, 1))
        now = np.full(count, self._time)
        fresh = _Tracks(ids, keypoint, box, size, np.zeros((count, 2)), covariance, now, now.copy())
        self._tracks = fresh if self._tracks is None else self._tracks.joined(fresh)


def _body_size(box: np.ndarray) -> np.ndarray:
    return np.maximum(np.sqrt(box_area(box)), 1.0)


def build_tracks(frames: Sequence[FramePoses], ids: Sequence[np.ndarray]) -> list[PoseTrack]:
    """Puts each identity's poses in one track, from the first frame in which it was seen to the last.

    Args:
        frames: T frames in order.
        ids: For each frame the identities (M,) of its poses, -1 for a pose to leave out.

    Returns:
        Tracks in order of identity; frames in which a person was not found hold NaN and score 0.

    Raises:
        UsageError: If an identity appears twice in a frame, or frames and identities do not fit together.
    """
    places: dict[int, list[tuple[int, int]]] = {}
    for position, (frame, names) in enumerate(zip(frames, ids, strict=True)):
        if len(names) != frame.num_persons:
            raise UsageError(f"frame {frame.frame_index} has {frame.num_persons} poses but {len(names)} identities")
        for person, name in enumerate(names.tolist()):
            if name >= 0:
                places.setdefault(name, []).append((position, person))
    return [_track(frames, name, places[name]) for name in sorted(places)]


def _track(frames: Sequence[FramePoses], name: int, places: list[tuple[int, int]]) -> PoseTrack:
    start, length = places[0][0], places[-1][0] - places[0][0] + 1
    rows = [position - start for position, _ in places]
    if len(set(rows)) < len(rows):
        raise UsageError(f"identity {name} appears twice in one frame: give each pose of a frame its own")
    num_joints = frames[start].keypoint.shape[1]
    track = PoseTrack(
        name,
        start,
        np.full((length, num_joints, 2), np.nan, np.float32),
        np.zeros((length, num_joints), np.float32),
        np.full((length, 4), np.nan, np.float32),
        np.zeros(length, np.float32),
        np.zeros((length, num_joints), bool),
    )
    for item in ("keypoint", "keypoint_score", "box", "box_score"):
        getattr(track, item)[rows] = [getattr(frames[position], item)[person] for position, person in places]
    return track
