"""Which frames of a clip the network sees, as tensor operations; `recognition.data.transforms.sampling` in NumPy.

Clips (N, S, T, V, D) are padded to a common number of frames; their own numbers of frames are int64 (N,). A joint that
was not seen, and one of a frame of padding, has score 0.
"""

from dataclasses import dataclass

import torch

from recognition.exporting.tensors import count_up_to, first_place, numbers_up_to, rows_at
from recognition.settings import DataSettings


@dataclass(frozen=True)
class Frames:
    """Clips with their numbers of frames.

    Args:
        keypoint: float32 (N, S, T, V, D).
        score: float32 (N, S, T, V), 0 where a joint was not seen, and in padding.
        count: int64 (N,), number of frames.
    """

    keypoint: torch.Tensor
    score: torch.Tensor
    count: torch.Tensor

    @property
    def shows_someone(self) -> torch.Tensor:
        """Frames in which a joint was seen, bool (N, T)."""
        return (self.score > 0).any(dim=3).any(dim=1)


def resampled(frames: Frames, time: torch.Tensor, settings: DataSettings, *, rounding: float = 0.0) -> Frames:
    """Select the frames that the network sees, as `ClipTransforms` does for tests.

    Args:
        frames: The clips.
        time: float64 (N, T), times of the frames in seconds.
        settings: Settings of the transforms.
        rounding: Positions closer to a frame than this share of the distance of two frames are on the frame; 0 in
            double precision. In single precision, the frame next to it would count as well, and with it joints that
            were not seen in the frame itself.
    """
    rate, own = settings.frame_rate, settings.num_frames == "own"
    longest = settings.max_frames if settings.num_frames == "own" else settings.num_frames
    if rate is not None:
        frames = _at_rate(frames, time, rate, rounding)
    start, count = frames.count * 0, frames.count
    if settings.part_test < 1:
        start, count = _middle_part(frames, settings.part_test, settings.part_min_frames)
    target = count.clamp(max=longest) if own else count * 0 + longest
    place = numbers_up_to(target) if own else torch.arange(longest, device=count.device)
    if rate is not None and own:
        index = _window_start(frames, start, count, longest)[:, None] + start[:, None] + place
        return _taken(frames, index, target)
    ratio = (count.double() / target)[:, None]
    if settings.resample == "linear":
        middle = (place.double() + 0.5) * ratio - 0.5
        middle = torch.minimum(middle.clamp(min=0), (count - 1)[:, None].double())
        before = middle.floor().to(torch.int64)
        after = torch.minimum(before + 1, (count - 1)[:, None])
        share = _on_frames((middle - before).float(), rounding)
        return _mixed(frames, before + start[:, None], after + start[:, None], share, target)
    return _taken(frames, (place.double() * ratio).to(torch.int64) + start[:, None], target)


def _on_frames(share: torch.Tensor, rounding: float) -> torch.Tensor:
    """Return shares of the later of two frames without those that are only rounding; see `resampled`."""
    if not rounding:
        return share
    return torch.where(share < rounding, 0.0, torch.where(share > 1 - rounding, 1.0, share))


def _at_rate(frames: Frames, time: torch.Tensor, rate: float, rounding: float) -> Frames:
    """Resample to a fixed frame rate by linear interpolation in time; see `at_rate`."""
    begin, end = time[:, :1], rows_at(time, frames.count[:, None] - 1)
    count = ((end - begin) * rate).round().to(torch.int64)[:, 0] + 1
    place = numbers_up_to(count)
    new = torch.minimum(begin + place.double() / rate, end)  # (N, U)
    last = (frames.count - 1)[:, None]
    after = torch.minimum(count_up_to(time, frames.count, new).clamp(min=1), last)
    before = (after - 1).clamp(min=0)
    earlier = rows_at(time, before)
    length = torch.where(after > before, rows_at(time, after) - earlier, 1.0)
    share = ((new - earlier) / length).clamp(0, 1).float()
    return _mixed(frames, before, after, _on_frames(share, rounding), count)


def _mixed(
    frames: Frames, before: torch.Tensor, after: torch.Tensor, share: torch.Tensor, count: torch.Tensor
) -> Frames:
    """Interpolate between two frames; where a joint was seen in only one of them, its position there is used.

    Args:
        frames: The clips.
        before: int64 (N, U), the earlier frames.
        after: int64 (N, U), the later frames.
        share: float32 (N, U), share of the later ones.
        count: int64 (N,), number of frames of the results.
    """
    one, other = _taken(frames, before, count), _taken(frames, after, count)
    share = share[:, None, :, None]
    weight, further = (1 - share) * (one.score > 0), share * (other.score > 0)
    total = weight + further
    known = total > 0
    divisor = torch.where(known, total, 1.0)
    keypoint = (one.keypoint * weight[..., None] + other.keypoint * further[..., None]) / divisor[..., None]
    score = (one.score * weight + other.score * further) / divisor
    return Frames(keypoint, torch.where(known, score, 0.0), count)


def _taken(frames: Frames, index: torch.Tensor, count: torch.Tensor) -> Frames:
    """Return the frames at `index`, int64 (N, U), of which the first `count`, int64 (N,), are valid."""
    clips, places, length = frames.score.shape[:3]
    valid = torch.arange(index.shape[1], device=index.device) < count[:, None]
    # Frames of padding may take any frame, but an existing one.
    index = index.clamp(max=length - 1)[:, None].expand(-1, places, -1).flatten(0, 1)
    keypoint = rows_at(frames.keypoint.flatten(0, 1), index).unflatten(0, (clips, places))
    score = rows_at(frames.score.flatten(0, 1), index).unflatten(0, (clips, places))
    return Frames(keypoint, torch.where(valid[:, None, :, None], score, 0.0), count)


def _middle_part(frames: Frames, share: float, fewest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return start and length, int64 (N,), of the middle part of each clip, or of the clip if the part shows nobody."""
    count = frames.count
    kept = count - 2 * (count.double() * (1 - share) / 2).to(torch.int64)
    kept = torch.minimum(kept.clamp(min=fewest), count)
    start = torch.div(count - kept, 2, rounding_mode="floor")
    place = torch.arange(frames.score.shape[2], device=count.device)
    inside = (place >= start[:, None]) & (place < (start + kept)[:, None])
    shown = (frames.shows_someone & inside).any(dim=1)
    return torch.where(shown, start, 0), torch.where(shown, kept, count)


def _window_start(frames: Frames, start: torch.Tensor, count: torch.Tensor, longest: int) -> torch.Tensor:
    """Return the start, int64 (N,), of the longest window that the network accepts: the middle, if that shows someone.

    Args:
        frames: The clips.
        start: int64 (N,), first frame of the part to choose from; the result is relative to it.
        count: int64 (N,), length of that part.
        longest: Length of the window.
    """
    spare = (count - longest).clamp(min=0)
    middle = torch.div(spare, 2, rounding_mode="floor")
    place = torch.arange(frames.score.shape[2], device=count.device) - start[:, None]
    there = frames.shows_someone & (place >= 0) & (place < count[:, None])
    shown = (there & (place >= middle[:, None]) & (place < (middle + longest)[:, None])).any(dim=1)
    # The frame in the middle of those that show someone.
    order = there.to(torch.int64).cumsum(dim=1)
    half = torch.div(there.sum(dim=1), 2, rounding_mode="floor") + 1
    found, exists = first_place(there & (order == half[:, None]))
    other = torch.minimum(spare, (found - start - longest // 2).clamp(min=0))
    return torch.where(shown | ~exists, middle, other)
