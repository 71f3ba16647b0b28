"""Masks: eq. 3 and 4 compared with plain loops, keyed noise, and the influence of attention."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats

from recognition.keyed_noise import gumbel_noise
from recognition.maskclr.masking import Scale, attention_guided_mask, jittered, masking_contrast
from test_support.reference.losses import masked_cells


def made_attention(persons: int, frames: int, joints: int, seed: int = 0) -> torch.Tensor:
    """Attention with a skewed distribution, as after a softmax, and a mean of 1 in each frame."""
    torch.manual_seed(seed)
    attention = torch.distributions.Gamma(0.8, 1.0).sample((persons, frames, joints)).double()
    return attention / attention.mean(2, keepdim=True)


def made_noise(persons: int, frames: int, joints: int, *, seed: int = 0, epoch: int = 0) -> torch.Tensor:
    zeros = torch.zeros(persons, dtype=torch.long)
    return gumbel_noise(torch.arange(persons), zeros, frames, joints, seed=seed, epoch=epoch)


def draw(
    attention: torch.Tensor, *, ratio: float = 0.7, temperature: float = 0.7, scale: Scale = "none", epoch: int = 0
):
    return attention_guided_mask(
        attention,
        torch.ones_like(attention, dtype=torch.bool),
        ratio=ratio,
        temperature=temperature,
        scale=scale,
        noise=made_noise(*attention.shape),
    )


@pytest.mark.parametrize("scale", ["none", "frame_max", "seq_max"])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.7, 1.0])
def test_mask_equals_the_formula_and_ignores_padding(scale: Scale, ratio: float) -> None:
    attention, noise = made_attention(4, 9, 5), made_noise(4, 9, 5)
    num_frames = [9, 5, 1, 8]
    valid = (torch.arange(9)[None] < torch.tensor(num_frames)[:, None])[:, :, None].expand(4, 9, 5)
    expected = masked_cells(attention.tolist(), num_frames, noise.tolist(), ratio=ratio, temperature=0.7, scale=scale)
    padded = attention.masked_fill(~valid, 1e6)
    mask = attention_guided_mask(padded, valid, ratio=ratio, temperature=0.7, scale=scale, noise=noise)
    assert {tuple(cell) for cell in mask.nonzero().tolist()} == expected


def test_number_of_masked_cells_at_the_papers_size() -> None:
    mask = draw(made_attention(3, 243, 17))
    assert mask.flatten(1).sum(1).tolist() == [2891] * 3


def test_integer_number_of_cells_is_not_rounded_down() -> None:
    assert 0.29 * 100 < 29
    assert int(draw(torch.ones(1, 20, 5), ratio=0.29).sum()) == 29


def test_the_first_cell_is_drawn_with_the_probability_of_eq_3() -> None:
    persons = 20_000
    attention = torch.tensor([0.2, 0.5, 1.0, 2.3]).double()
    mask = draw(attention.expand(persons, 1, 4), ratio=0.25)
    counts = mask.sum((0, 1)).double()
    expected = (attention / 0.7).softmax(0) * persons
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_noise_has_the_gumbel_distribution_and_no_visible_pattern() -> None:
    noise = made_noise(12, 243, 17, seed=5, epoch=3)
    assert stats.kstest(noise.flatten().numpy(), stats.gumbel_r.cdf).pvalue > 1e-3
    assert stats.kstest(noise[:, :, 3].flatten().numpy(), stats.gumbel_r.cdf).pvalue > 1e-3
    limit = 4.5 / math.sqrt(243 * 17)
    clips = torch.corrcoef(noise.flatten(1)) - torch.eye(12)
    assert clips.abs().max() < limit
    along = noise.flatten(1)
    for lag in (1, 17, 18):
        pair = torch.stack([along[:, lag:].flatten(), along[:, :-lag].flatten()])
        assert torch.corrcoef(pair)[0, 1].abs() < limit


def test_noise_differs_by_seed_epoch_clip_and_person() -> None:
    def noise(seed: int, epoch: int, clip: int, person: int) -> torch.Tensor:
        return gumbel_noise(torch.tensor([clip]), torch.tensor([person]), 50, 17, seed=seed, epoch=epoch).flatten()

    # Small numbers only, for which keys that were merely summed would collide.
    cases = [(s, e, c, p) for s in (0, 1) for e in (0, 1, 2) for c in (0, 1, 2) for p in (0, 1)]
    correlation = torch.corrcoef(torch.stack([noise(*case) for case in cases])) - torch.eye(len(cases))
    assert correlation.abs().max() < 4.5 / math.sqrt(50 * 17)


def test_noise_of_a_clip_depends_neither_on_its_batch_nor_on_padding() -> None:
    clips, persons = torch.tensor([90, 7, 7, 1_000_000]), torch.tensor([0, 0, 1, 0])
    batch = gumbel_noise(clips, persons, 30, 17, seed=1, epoch=2)
    alone = gumbel_noise(clips[2:3], persons[2:3], 12, 17, seed=1, epoch=2)
    assert torch.equal(batch[2, :12], alone[0])


def test_jitter_is_gaussian_with_one_strength_per_clip_and_spares_unseen_joints() -> None:
    keypoint = torch.rand(40, 60, 17, 3, dtype=torch.float64) + 0.1
    keypoint[:, :, 3] = 0
    clips = torch.arange(40) // 2
    persons = torch.arange(40) % 2
    moved = jittered(keypoint, clips, persons, 0.2, seed=1, epoch=0) - keypoint
    assert not moved[:, :, 3].any() and not moved[..., 2].any()
    seen = torch.arange(17) != 3
    offsets = moved[:, :, seen, :2]
    strength = offsets.flatten(1).std(dim=1)
    # Both persons of a clip have the same noise strength; strengths are uniform up to the largest.
    assert torch.allclose(strength[::2], strength[1::2], rtol=0.1)
    assert stats.kstest((strength[::2] / 0.2).numpy(), stats.uniform.cdf).pvalue > 1e-3 and strength.max() < 0.21
    standard = offsets / strength[:, None, None, None]
    assert stats.kstest(standard.flatten().numpy(), stats.norm.cdf).pvalue > 1e-3
    x_and_y = torch.corrcoef(standard.reshape(-1, 2).T)
    neighbours = torch.corrcoef(torch.stack([standard[:, 1:].flatten(), standard[:, :-1].flatten()]))
    assert x_and_y[0, 1].abs() < 0.03 and neighbours[0, 1].abs() < 0.03


def test_jitter_differs_between_clips_and_epochs() -> None:
    keypoint = torch.rand(3, 30, 17, 3, dtype=torch.float64) + 0.1
    clips, persons = torch.tensor([90, 7, 7]), torch.tensor([0, 0, 1])
    batch = jittered(keypoint, clips, persons, 0.1, seed=1, epoch=2)
    alone = jittered(keypoint[2:, :12], clips[2:], persons[2:], 0.1, seed=1, epoch=2)
    assert torch.equal(batch[2, :12], alone[0])
    assert not torch.equal(batch, jittered(keypoint, clips, persons, 0.1, seed=1, epoch=3))
    assert torch.equal(keypoint, jittered(keypoint, clips, persons, 0.0, seed=1, epoch=2))


@pytest.mark.parametrize(
    ("factor", "scale", "top", "bottom"),
    [
        (1.0, "none", 1.00, 0.39),  # column sums, as returned by the backbones
        (1 / 17, "none", 0.79, 0.67),  # column means: close to random
        (1.0, "seq_max", 0.87, 0.64),
        (1.0, "frame_max", 0.96, 0.58),
    ],
)
def test_realised_masking_contrast_of_each_scale_of_attention(
    factor: float, scale: Scale, top: float, bottom: float, record_property: Callable[[str, object], None]
) -> None:
    attention = made_attention(8, 243, 17)
    mask = draw(attention * factor, scale=scale)
    realised = [float(share) for share in masking_contrast(attention, mask, torch.ones_like(mask))]
    record_property("masked among top 5 % and bottom 20 %", realised)
    assert realised == pytest.approx([top, bottom], abs=0.02)


def test_random_masking_ignores_attention() -> None:
    attention = made_attention(8, 243, 17)
    mask = draw(torch.zeros_like(attention))
    top, bottom = masking_contrast(attention, mask, torch.ones_like(mask))
    assert float(top) == pytest.approx(0.7, abs=0.05)
    assert float(bottom) == pytest.approx(0.7, abs=0.03)


def test_contrast_counts_own_cells_only() -> None:
    attention = torch.tensor([[[4.0, 3.0], [2.0, 1.0], [9.0, 9.0]]])
    valid = torch.tensor([[[True, True], [True, True], [False, False]]])
    mask = torch.tensor([[[True, False], [False, False], [False, False]]])
    assert [float(share) for share in masking_contrast(attention, mask, valid)] == [1.0, 0.0]
    assert [float(share) for share in masking_contrast(-attention, mask, valid)] == [0.0, 1.0]


def test_a_sequence_without_cells_does_not_count() -> None:
    attention = torch.tensor([[[4.0, 3.0], [2.0, 1.0]], [[4.0, 3.0], [2.0, 1.0]]])
    mask = torch.tensor([[[True, False], [False, False]], [[False, False], [False, False]]])
    valid = torch.ones_like(mask)
    valid[1] = False
    assert [float(share) for share in masking_contrast(attention, mask, valid)] == [1.0, 0.0]
    nobody = torch.zeros_like(valid)
    assert [float(share) for share in masking_contrast(attention, nobody, nobody)] == [0.0, 0.0]
