"""Conclusions that benchmarks draw from measurements, and the baselines that they compare with."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import accuracy_tables as tables
from benchmarks import pretraining_accuracy as pretraining
from benchmarks import robustness_methods as methods
from benchmarks.bilstm import BiLSTM
from benchmarks.plain_recipe import PlainDSTFormer, with_two_persons
from pipeline.protocols.recipe import protocol_settings
from pipeline.train.settings import pretrain_settings
from pose_extraction.formats.pickles import read_pickle
from recognition.backbones.dstformer import DSTFormer
from recognition.data.batches import Batch
from test_support.clips.made_data_sets import made_ntu60, ntu_like_lengths, write_kinetics400

CLEAN, NOISE = tables.Condition("clean"), tables.Condition("noise", 0.01)


def right(share: float, count: int = 200) -> np.ndarray:
    """The first `share` of `count` clips are correct."""
    return np.arange(count) < share * count


def made_results() -> dict[str, dict[tables.Condition, dict[int, np.ndarray]]]:
    """A method that loses 10 points and a baseline that loses 30, with two seeds each."""
    return {
        "method": {CLEAN: {0: right(0.9), 1: right(0.8)}, NOISE: {0: right(0.8), 1: right(0.7)}},
        "baseline": {CLEAN: {0: right(0.9), 1: right(0.9)}, NOISE: {0: right(0.6), 1: right(0.6)}},
    }


def test_drops_are_compared_clip_by_clip_over_all_seeds() -> None:
    compared = tables.compare(made_results(), "method", "baseline", NOISE)
    assert compared is not None
    assert compared.drop == pytest.approx(0.1) and compared.baseline_drop == pytest.approx(0.3)
    value, low, high = compared.difference
    assert low < value < high and value == pytest.approx(0.2)
    assert compared.ratio is not None and compared.ratio[0] == pytest.approx(1 / 3)
    # The interval is that of the mean difference over 200 clips, close to its normal approximation.
    results = made_results()
    losses = {
        name: np.mean([results[name][CLEAN][seed] * 1.0 - results[name][NOISE][seed] for seed in (0, 1)], axis=0)
        for name in results
    }
    half = 1.96 * (losses["baseline"] - losses["method"]).std() / np.sqrt(200)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)


def test_no_ratio_is_given_if_the_baseline_may_lose_nothing() -> None:
    results = made_results()
    # One clip more, one less: the drop of half a point is within the uncertainty of the clips.
    results["baseline"][NOISE] = {seed: right(0.895) for seed in (0, 1)}
    compared = tables.compare(results, "method", "baseline", NOISE)
    assert compared is not None and compared.ratio is None
    assert "nan" not in tables.drop_table(results, ["method"], "baseline")


def test_method_is_not_better_than_itself() -> None:
    compared = tables.compare(made_results(), "method", "method", NOISE)
    assert compared is not None
    assert compared.difference == (0, 0, 0)


def test_harder_level_decides_if_the_baseline_hardly_drops() -> None:
    results = {"baseline": {CLEAN: {0: right(0.9)}}}
    for level, share in ((0.005, 0.6), (0.01, 0.87), (0.02, 0.82), (0.05, 0.7), (0.1, 0.2)):
        results["baseline"][tables.Condition("noise", level)] = {0: right(share)}
    assert tables.level_to_compare(results, "baseline", "noise") == tables.Condition("noise", 0.05)
    results["baseline"][NOISE] = {0: right(0.84)}
    assert tables.level_to_compare(results, "baseline", "noise") == NOISE


def test_results_are_read_back_without_a_truncated_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    line = tables.line_of("method", 3, NOISE, right(0.25, 8))
    path.write_text(line + "\n" + line[:20], encoding="utf-8")
    results = tables.read_results(path)
    assert results["method"][NOISE][3].tolist() == right(0.25, 8).tolist()
    assert "25.0 (25.0)" in tables.report(results, ["method"], "method")


def test_bilstm_reads_each_person_and_ignores_absent_ones() -> None:
    torch.manual_seed(0)
    model = BiLSTM(num_joints=17, num_classes=4, width=8, dropout=0.0).eval()
    batch = Batch(
        keypoint=torch.rand(2, 2, 16, 17, 3),
        person_mask=torch.tensor([[True, False], [True, True]]),
        frame_mask=torch.ones(2, 16, dtype=torch.bool),
        label=torch.zeros(2, dtype=torch.int64),
        index=torch.arange(2),
        names=("a", "b"),
    )
    logits = model(batch)
    batch.keypoint[0, 1] = 5
    assert torch.equal(model(batch), logits)
    batch.keypoint[1, 1] = 5
    assert not torch.allclose(model(batch)[1], logits[1])


def test_plain_recipe_has_the_same_network_as_the_project() -> None:
    torch.manual_seed(0)
    sizes = {"num_joints": 17, "channels": 3, "dim": 16, "depth": 2, "heads": 4, "mlp_ratio": 2, "max_frames": 20}
    ours = DSTFormer(**sizes, dim_representation=16).double()
    plain = PlainDSTFormer(**sizes).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.rand(3, 12, 17, 3, dtype=torch.float64)
    frame_mask = torch.arange(12) < torch.tensor([[12], [5], [9]])
    masked = torch.rand(3, 12, 17) < 0.5
    for mask in (None, frame_mask):
        there = plain.encode(x, frame_mask=mask, masked=masked, return_attention=True)
        here = ours.encode(x, frame_mask=mask, masked=masked, return_attention=True)
        torch.testing.assert_close(there[0], here[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(there[1], here[1], rtol=0, atol=1e-6, check_dtype=False)


def test_the_plain_recipe_has_two_persons_in_every_clip() -> None:
    batch = Batch(
        keypoint=torch.rand(2, 1, 4, 17, 3),
        person_mask=torch.ones(2, 1, dtype=torch.bool),
        frame_mask=torch.ones(2, 4, dtype=torch.bool),
        label=torch.zeros(2, dtype=torch.int64),
        index=torch.arange(2),
        names=("a", "b"),
    )
    double = with_two_persons(batch)
    assert double.person_mask.all() and double.keypoint.shape == (2, 2, 4, 17, 3)
    assert torch.equal(double.keypoint[:, 0], batch.keypoint[:, 0]) and not double.keypoint[:, 1].any()


def test_made_ntu60_follows_its_rules() -> None:
    made = made_ntu60(240)
    names = {clip["frame_dir"]: clip for clip in made["annotations"]}
    assert len(names) == 240 and {clip["label"] for clip in names.values()} == set(range(60))
    assert all(int(name[-3:]) == clip["label"] + 1 for name, clip in names.items())
    split = {name: set(ids) for name, ids in made["split"].items()}
    for protocol in ("xsub", "xview"):
        assert split[f"{protocol}_train"] | split[f"{protocol}_val"] == set(names)
        assert not split[f"{protocol}_train"] & split[f"{protocol}_val"]
    assert not {name[8:12] for name in split["xsub_train"]} & {name[8:12] for name in split["xsub_val"]}
    assert {name[4:8] for name in split["xview_val"]} == {"C001"}
    assert all(clip["keypoint"].dtype == np.float16 for clip in names.values())
    assert {clip["keypoint"].shape[0] for clip in names.values()} == {1, 2}


def test_made_lengths_are_distributed_like_those_of_ntu60() -> None:
    lengths = ntu_like_lengths(20_000, np.random.default_rng(0))
    assert lengths.mean() == pytest.approx(84.5, rel=0.03)
    assert np.percentile(lengths, [50, 95, 99]) == pytest.approx([76, 149, 194], rel=0.06)
    assert lengths.min() >= 32 and lengths.max() <= 300


def test_made_kinetics400_has_separate_skeleton_files(tmp_path: Path) -> None:
    annotations, folder = write_kinetics400(tmp_path, 12, classes=3)
    made = read_pickle(annotations)
    for clip in made["annotations"]:
        stored = read_pickle(folder / Path(clip["raw_file"]).name)[clip["frame_dir"]]["keypoint"]
        assert "keypoint" not in clip
        assert stored.shape == (len(clip["frame_inds"]), 17, 3) == (len(clip["box_score"]), 17, 3)
        assert clip["frame_inds"].max() < clip["total_frames"]


def test_variants_change_what_their_config_says() -> None:
    assert pretraining.changes_of("mamp", None) == []
    assert pretraining.changes_of("mamp", "random_masking") == ['mamp.masking="random"']
    pairs = 'pcm3.positives=["intra", "inter"]'
    assert pretraining.changes_of("pcm3", "contrast") == [pairs, "pcm3.distillation=0", "pcm3.prediction=0"]
    for method, config in pretraining.VARIANTS.values():
        words = pretraining.changes_of(method, config)
        pretrain_settings([f"{method}/custom", *pretraining.SMALL[method], *words], {})
        protocol_settings(method, pretraining.RECIPES[method])


def test_truncated_results_are_measured_again(tmp_path: Path) -> None:
    lines = [
        {"variant": "mamp", "scratch": scratch, "seed": seed, "protocol": "linear", "top1": top1}
        for scratch, seed, top1 in ((False, 0, 0.5), (False, 1, 0.7), (True, 0, 0.25))
    ]
    file = tmp_path / "results.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + '\n{"variant": "mamp", "scra')
    rows = pretraining.read_rows(file)
    assert set(rows) == {("mamp", False, 0, "linear"), ("mamp", False, 1, "linear"), ("mamp", True, 0, "linear")}
    table = pretraining.report(rows).splitlines()
    assert table[2].startswith("| mamp | 60.0 (50.0, 70.0) |") and table[3].startswith("| mamp, fresh weights | 25.0")


def test_results_of_another_recipe_are_shown_until_measured_again(tmp_path: Path) -> None:
    entry = {"variant": "mamp", "scratch": False, "protocol": "linear", "top1": 0.5}
    lines = [entry | {"seed": 0}, entry | {"seed": 1, "recipe": ["seed=1", "runs=1"]}]
    file = tmp_path / "results.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    rows, before, listed = pretraining.read_rows(file), ("mamp", False, 0, "linear"), ("mamp", False, 1, "linear")
    assert pretraining.is_done(rows, listed, ["seed=1", "runs=1"])
    assert not pretraining.is_done(rows, listed, ["seed=1", "runs=1", "linear.epochs=3"])
    assert not pretraining.is_done(rows, before, ["seed=0", "runs=1"])
    assert "50.0 (50.0, 50.0)" in pretraining.report(rows)


@pytest.mark.parametrize("stem", ["penn_action", "motions5", "mine"])
def test_methods_of_the_bench_train_on_the_same_clips_and_share_phase_one(stem: str, tmp_path: Path) -> None:
    file = tmp_path / f"{stem}.pkl"
    jobs = {name: methods.job_of(name, 1, file, tmp_path, {"batch_size": 8}) for name in methods.METHODS}
    assert {job.settings.model.backbone for job in jobs.values()} == {"dstformer", *methods.BASELINES.values()}
    assert len({job.folder for job in jobs.values()}) == len(jobs)
    clips = ("file", "train_split", "holdout", "group_pattern", "skip_bad")
    assert len({tuple(getattr(job.settings.data, name) for name in clips) for job in jobs.values()}) == 1
    assert all(job.settings.training.seed == 1 and job.settings.training.batch_size == 8 for job in jobs.values())
    # The three methods with the same network share one phase one; the others have a single phase.
    assert len({jobs[name].shared for name in methods.SAME_NETWORK}) == 1 and jobs["MaskCLR"].shared is not None
    assert all(jobs[name].shared is None for name in methods.BASELINES)
    ways = [(job.settings.training.objective, job.settings.maskclr.mask) for job in jobs.values()]
    assert ways[:3] == [("maskclr", "attention"), ("cross_entropy", "attention"), ("maskclr", "random")]


def test_table_of_methods_contains_the_lead_with_its_interval() -> None:
    measured = [("clean", None, 0.9, 0.8), ("part", "left_arm", 0.5, 0.6), ("noise", 0.003, 0.7, 0.7)]
    conditions = [
        {"family": family, "level": level, "method": method, "top1": top1}
        for family, level, *both in measured
        for method, top1 in zip(("ours", "theirs"), both, strict=True)
    ]
    differences = [
        {"family": family, "level": level, "against": "theirs", "difference": a - b, "low": a - b - 0.05, "high": 0.25}
        for family, level, a, b in measured
    ]
    assert methods.table(conditions, differences).splitlines()[2:] == [
        "| clean | 90.0 | 80.0 | +10.0 (+5.0 to +25.0) |",
        "| part left arm | 50.0 | 60.0 | -10.0 (-15.0 to +25.0) |",
    ]
