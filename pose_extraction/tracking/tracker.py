"""Multi-person tracking: assign identities over time to the poses in each frame.

Each track stores its last pose and a velocity, and predicts its current position. Detections are matched with tracks by
the similarity of pose (OKS) and box (IoU), with SciPy's linear assignment. All times are in seconds, so frame rate,
stride and uneven time stamps affect only the uncertainty of the prediction.

The velocity is estimated by a Kalman filter for the position of the body, in units of body size, with the same variance
for both axes. It decays, because occluded people do not keep walking forever. Matching has two rounds as in ByteTrack
(Zhang et al. 2022): first detections with a high score, then those with a low score, which can continue a track, but
not start one.
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy.optimize import linear_sum_assignment

from pose_extraction.errors import UsageError
from pose_extraction.oks import OUTLINE_SHARE, box_area, box_centre, box_iou, oks
from pose_extraction.poses import FramePoses

# Standard deviation of the initial speed of a person, in body sizes per second.
FIRST_SPEED = 1.5
# The longer side of a person's box hardly changes by more than this factor between two frames.
MOST_GROWTH = 1.5
# Larger than the sum of all distances, so that many matches are preferred to short ones.
UNREACHABLE = 1e6


@dataclass(frozen=True)
class TrackerSettings:
    """Settings of `Tracker`. Lengths are in body sizes (square root of the box area), times in seconds.

    The second round uses scores from `low_score` to `high_score`. A detector with a higher threshold (0.3 by default)
    leaves only part of this range; lower its threshold to use more detections.

    Args:
        high_score: Minimum box score of detections that can start a track and are matched in the first round.
        low_score: Minimum box score of detections in the second round.
        patience: Time after which a track without detections ends.
        first_patience: The same for tracks younger than `trial` (most false detections never recur), but at least 2.5
            frames.
        trial: Age after which a track is considered reliable.
        oks_share: Weight of OKS relative to IoU in the affinity, in [0, 1].
        gate: Minimum affinity of a match in the first round.
        low_gate: Minimum affinity of a match in the second round.
        age_cost: Decrease of the affinity between the last detection of a track and its end, so that recently detected
            tracks are preferred.
        decay: Time constant of the velocity.
        agility: Spectral density of the acceleration in body sizes^2 / s^3.
        place_noise: Standard deviation of the measured position of a body.
        widest: Upper bound of the standard deviation of the predicted position that is used in the affinity.
        top_speed: Maximum speed of a person, in body sizes per second. A detection within reach of a track that was
            seen in the frame before continues it if nothing else matches: between two frames of a slow video, people
            turn.
        cut_share: A frame in which at most this fraction of the people agrees with any track is a camera cut.
        cut_affinity: Minimum affinity at which a detection agrees with a track, for detecting cuts.

    Raises:
        UsageError: A value is negative or not finite, or `decay` or `place_noise` is 0.
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
    top_speed: float = 4.0
    cut_share: float = 0.25
    cut_affinity: float = 0.3

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not np.isfinite(value) or value < 0:
                raise UsageError(f"tracker setting {item.name} is {value}: must be a number >= 0")
        for name in ("decay", "place_noise"):
            if getattr(self, name) == 0:
                raise UsageError(f"tracker setting {name} is 0: must be greater than 0")


@dataclass(slots=True)
class _Tracks:
    """All active tracks, one row per track."""

    ids: np.ndarray  # int64 (N,)
    keypoint: np.ndarray  # (N, V, 2) pixels, last known position of each joint
    box: np.ndarray  # (N, 4) pixels
    size: np.ndarray  # (N,) body size in pixels
    velocity: np.ndarray  # (N, 2) pixels per second
    covariance: np.ndarray  # (N, 3) var(position), cov(position, velocity), var(velocity), in body sizes
    born: np.ndarray  # (N,) seconds
    seen: np.ndarray  # (N,) seconds

    def rows(self, chosen: np.ndarray) -> "_Tracks":
        return _Tracks(*(getattr(self, item.name)[chosen] for item in fields(self)))

    def joined(self, other: "_Tracks") -> "_Tracks":
        return _Tracks(*(np.concatenate((getattr(self, f.name), getattr(other, f.name))) for f in fields(self)))


class Tracker:
    """Assigns identities to the poses of one video, frame by frame.

    Args:
        settings: See `TrackerSettings`.
        size: (height, width) of the frame in pixels.
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
        """End all tracks, as after a camera cut: the next persons get new identities."""
        self._tracks = None

    def update(self, poses: FramePoses) -> np.ndarray:
        """Match the poses of a frame with the tracks.

        A person gets an identity in the first frame, before the track is considered reliable. `cleaning` removes short
        tracks once they are complete.

        Args:
            poses: Poses of a frame later than the previous one.

        Returns:
            int64 (M,) identities, numbered from 0 in order of appearance; -1 for low-score detections that do not
            continue a track.

        Raises:
            UsageError: The frame is not later than the previous one.
        """
        if poses.time <= self._time:
            raise UsageError(
                f"frame {poses.frame_index} at {poses.time} s is not after {self._time} s: sort the frames by time"
            )
        settings = self._settings
        # At low frame rates, a new track must be allowed to miss one or two frames. A single gap in the stream does not
        # change the frame rate, so use the smaller of the last two intervals.
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
            distance = self._distance(keypoint, box)
            if self._is_cut(affinity, distance, high):
                self.forget()
            else:
                matches = self._with_reachable(self._match(affinity, free, high), distance, high)
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
        """Predict the current state of each track: keypoint (N, V, 2), box (N, 4), covariance (N, 3)."""
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
        """Return the affinity of tracks and detections, (N, M), at most 1."""
        tracks, settings = self._tracks, self._settings
        assert tracks is not None
        area = OUTLINE_SHARE * tracks.size**2
        slack = np.minimum(covariance[:, 0], settings.widest**2) / OUTLINE_SHARE
        alike = oks(keypoint_now[:, None], keypoint[None], area[:, None], slack=slack[:, None])
        age = (self._time - tracks.seen) / max(settings.patience, 1e-9)
        affinity = settings.oks_share * alike + (1 - settings.oks_share) * box_iou(box_now, box)
        return affinity - (settings.age_cost * age)[:, None]

    def _distance(self, keypoint: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Return how far each detection is from the last place of each track, (N, M), in body sizes.

        Infinite if a person cannot move that far, has another size, or was not seen in the frame before.
        """
        tracks, settings = self._tracks, self._settings
        assert tracks is not None
        offset = keypoint[None] - tracks.keypoint[:, None]
        common = np.isfinite(offset).all(axis=-1)
        count = common.sum(axis=-1)
        # People who turn move their limbs, too, so compare the mean place of the joints that both have.
        shift = np.where(common[..., None], offset, 0.0).sum(axis=2) / np.maximum(count, 1)[..., None]
        shift = np.where(count[..., None] > 0, shift, box_centre(box)[None] - box_centre(tracks.box)[:, None])
        # The width of a walking person changes with every step, so take the larger size, and compare the longer sides.
        distance = np.linalg.norm(shift, axis=-1) / np.maximum(tracks.size[:, None], _body_size(box))
        elapsed = (self._time - tracks.seen)[:, None]
        ratio = _longer_side(box) / _longer_side(tracks.box)[:, None]
        possible = (distance <= settings.top_speed * elapsed) & (elapsed <= 1.5 * self._interval)
        possible &= (ratio > 1 / MOST_GROWTH) & (ratio < MOST_GROWTH)
        return np.where(possible, distance, np.inf)

    def _with_reachable(
        self, matches: tuple[np.ndarray, np.ndarray], distance: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add matches of detections without a match to tracks from which they can be reached."""
        rows = np.setdiff1d(np.arange(len(distance)), matches[0])
        columns = np.setdiff1d(np.flatnonzero(high), matches[1])
        row, column = _nearest(distance[rows[:, None], columns])
        return np.append(matches[0], rows[row]), np.append(matches[1], columns[column])

    def _is_cut(self, affinity: np.ndarray, distance: np.ndarray, high: np.ndarray) -> bool:
        """Detect a camera cut: there are people before and after, but they do not match, and are elsewhere."""
        tracks, settings = self._tracks, self._settings
        assert tracks is not None
        recent = (tracks.seen - tracks.born >= settings.trial) & (self._time - tracks.seen <= self._first_patience)
        possible = min(int(recent.sum()), int(high.sum()))
        if possible < 2:
            return False
        agreeing = (affinity[recent][:, high] >= settings.cut_affinity).any(0).sum()
        if agreeing > settings.cut_share * possible:
            return False
        reached = len(_nearest(distance[recent][:, high])[0])
        return reached < (1 - settings.cut_share) * possible

    def _match(self, affinity: np.ndarray, free: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Match in two rounds. Return row indices of tracks and of detections."""
        settings = self._settings
        left = np.ones(len(affinity), bool)
        rows, columns = [], []
        for chosen, gate in ((high, settings.gate), (free & ~high, settings.low_gate)):
            if not (chosen.any() and left.any()):
                continue
            some, others = np.flatnonzero(left), np.flatnonzero(chosen)
            part = affinity[some[:, None], others]
            # Pairs below the gate count as 0, so that they cannot improve the total by enabling other matches.
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
        """Update the matched tracks (`rows`) with their detections (`columns`): the Kalman filter's update step."""
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
        # Unseen joints are assumed to have moved with the body.
        lost = np.isnan(found)
        tracks.keypoint[rows] = np.where(lost, expected, found)
        tracks.box[rows] = box[columns]
        tracks.size[rows] += 0.3 * (_body_size(box[columns]) - tracks.size[rows])
        tracks.seen[rows] = self._time

    def _start(self, ids: np.ndarray, keypoint: np.ndarray, box: np.ndarray) -> None:
        """Add one track for each of the given detections."""
        count = len(ids)
        size = _body_size(box)
        covariance = np.tile([self._settings.place_noise**2, 0.0, FIRST_SPEED**2], (count, 1))
        now = np.full(count, self._time)
        fresh = _Tracks(ids, keypoint, box, size, np.zeros((count, 2)), covariance, now, now.copy())
        self._tracks = fresh if self._tracks is None else self._tracks.joined(fresh)


def _body_size(box: np.ndarray) -> np.ndarray:
    return np.maximum(np.sqrt(box_area(box)), 1.0)


def _longer_side(box: np.ndarray) -> np.ndarray:
    return np.maximum((box[:, 2:] - box[:, :2]).max(axis=1), 1.0)


def _nearest(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of pairs with finite distance: as many as possible, with the smallest sum."""
    row, column = linear_sum_assignment(np.where(np.isfinite(distance), distance, UNREACHABLE))
    good = np.isfinite(distance[row, column])
    return row[good], column[good]
