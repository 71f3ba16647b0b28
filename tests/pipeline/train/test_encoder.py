"""`skelpipe pretrain` and its successors: a run, resuming, measuring the encoder, and fine-tuning it."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from pose_extraction.formats.pickle_writing import write_pickle
from recognition import run_file
from test_support.clips.made_motions import write_motions
from test_support.networks.made_encoders import SMALL, pretrain, skelpipe, write_long

pytestmark = [pytest.mark.processor, pytest.mark.slow]
# bf16, where a processor has it, makes another result.
FP32 = ("--device", "cpu", "--precision", "fp32")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_motions(tmp_path_factory.mktemp("data") / "motions.pkl")


@pytest.fixture(scope="module", params=["mamp", "pcm3"])
def run(request, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / request.param
    result = pretrain(request.param, data, folder)
    assert result.exit_code == 0, result.output
    assert "epoch 3/3: loss" in result.stderr
    return folder


def test_a_resumed_run_equals_an_uninterrupted_one(run, data, tmp_path):
    """Weights, queue, momentum encoders, prompts and optimiser state are bitwise equal."""
    from pipeline.train.settings import resumed_pretrain_settings
    from recognition.pretraining.run import pretrain as pretrain_encoder
    from recognition.pretraining.settings import PretrainSettings

    whole = run_file.load(run / "last.safetensors")
    settings = PretrainSettings.model_validate({**whole["settings"], "out": str(tmp_path / "halted")})
    halted = pretrain_encoder(settings, stop_after=1)
    assert run_file.load(halted / "last.safetensors")["epoch"] == 1
    pretrain_encoder(resumed_pretrain_settings(halted, (), {}), resume=halted)
    again = run_file.load(halted / "last.safetensors")
    assert whole["model"].keys() == again["model"].keys()
    for name, tensor in whole["model"].items():
        assert torch.equal(tensor, again["model"][name]), name
    lines = [[json.loads(line) for line in (r / "metrics.jsonl").read_text().splitlines()] for r in (run, halted)]
    assert [line.get("total") for line in lines[0]] == [line.get("total") for line in lines[1]]


def test_encoders_of_requested_epochs_are_saved_and_can_be_measured(data, tmp_path):
    kept = pretrain("mamp", data, tmp_path / "kept", "training.keep_epochs=[2,3]")
    assert kept.exit_code == 0, kept.output
    second, third, best = (
        run_file.load(tmp_path / "kept" / f"{name}.safetensors") for name in ("epoch2", "epoch3", "best")
    )
    assert (second["epoch"], third["epoch"]) == (2, 3) and not (tmp_path / "kept" / "epoch1.safetensors").exists()
    assert second["model"].keys() == best["model"].keys() and "training" not in second
    for name, tensor in best["model"].items():
        assert torch.equal(tensor, third["model"][name]), name
    late = pretrain("mamp", data, tmp_path / "late", "training.keep_epochs=[4]")
    assert late.exit_code == 2 and "epoch 4 exceeds training.epochs 3" in late.stderr
    outcome = skelpipe(
        "evaluate", tmp_path / "kept" / "epoch2.safetensors", "--protocol", "knn", "--device", "cpu", "--json"
    )
    assert outcome.exit_code == 0 and json.loads(outcome.stdout)["epoch"] == 2


def test_a_run_resumed_within_an_epoch_equals_an_uninterrupted_one(run, tmp_path):
    """A signal arrives in the second of the second epoch's three steps; the result is bitwise equal."""
    from pipeline.train.settings import resumed_pretrain_settings
    from recognition.engine.training_run import TrainingStopped
    from recognition.pretraining.mamp import MAMP
    from recognition.pretraining.pcm3 import PCM3
    from recognition.pretraining.run import pretrain as pretrain_encoder
    from recognition.pretraining.settings import PretrainSettings

    whole, steps = run_file.load(run / "last.safetensors"), []

    def fifth_step(module, given, losses):
        if isinstance(module, MAMP | PCM3):
            steps.append(module)
            if len(steps) == 5:
                signal.raise_signal(signal.SIGTERM)

    halted = tmp_path / "halted"
    settings = PretrainSettings.model_validate({**whole["settings"], "out": str(halted)})
    hook = torch.nn.modules.module.register_module_forward_hook(fifth_step)
    try:
        with pytest.raises(TrainingStopped):
            pretrain_encoder(settings)
    finally:
        hook.remove()
    stopped = run_file.load(halted / "last.safetensors")
    assert (stopped["epoch"], stopped["step"], whole["step"]) == (1, 5, 9)
    pretrain_encoder(resumed_pretrain_settings(halted, (), {}), resume=halted)
    again = run_file.load(halted / "last.safetensors")
    assert whole["model"].keys() == again["model"].keys()
    for name, tensor in whole["model"].items():
        assert torch.equal(tensor, again["model"][name]), name


def test_a_run_with_other_network_sizes_is_not_resumed(run, tmp_path):
    """As in earlier versions, whose PCM3 decoder also predicted scores."""
    content = run_file.load(run / "last.safetensors")
    (name,) = {"decoder.out.weight", "decoder.predict.weight"} & set(content["model"])
    content["model"][name] = torch.cat([content["model"][name]] * 2)
    (tmp_path / "old").mkdir()
    torch.save(content, tmp_path / "old" / "last.pt")
    result = skelpipe("pretrain", "--resume", tmp_path / "old")
    assert result.exit_code == 2 and f"with a different size of {name}" in " ".join(result.stderr.split())


def test_the_finished_file_contains_only_the_encoder(run):
    best, last = run_file.load(run / "best.safetensors"), run_file.load(run / "last.safetensors")
    assert best["method"] == run.name and all(name.startswith("encoder.") for name in best["model"])
    assert not any("prompt" in name or "queue" in name for name in best["model"])
    if run.name == "pcm3":
        assert any("domain_prompts" in name for name in last["model"]) and "queue.keys" in last["model"]


@pytest.mark.parametrize(
    "protocol", ["linear", "knn", "semi:50%", "occlusion:spatial", "occlusion:temporal", "finetune"]
)
def test_protocols_evaluate_an_encoder(run, protocol):
    words = ("--set", "linear.views=1", "--set", "runs=2", "--set", "finetune.epochs=1", "--set", "finetune.hidden=16")
    words += ("--set", "finetune.warmup_epochs=0", "--set", "finetune.lr_steps=[]")
    result = skelpipe("evaluate", run, "--protocol", protocol, *words, *FP32, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["clips"] == 12 and 0 <= found["top1"] <= 1 and found["split"] == "test"
    if protocol == "linear":
        # 1.0 with ten seeds of both methods; a third is chance.
        assert found["top1"] > 0.6
    assert len(found.get("top1_runs", [])) == (2 if protocol.startswith("semi") else 0)
    stored = json.loads((Path(found["folder"]) / "evaluation.json").read_text())
    assert stored["top1"] == found["top1"] and stored["settings"]["runs"] == 2


def test_an_encoder_is_measured_on_another_file_or_from_scratch(run, data, tmp_path):
    other = write_motions(tmp_path / "other.pkl", clips=24, seed=5)
    words = ("--protocol", "transfer", "--set", "finetune.epochs=1", "--set", "finetune.hidden=16")
    words += ("--set", "finetune.warmup_epochs=0", "--set", "finetune.lr_steps=[]", "--device", "cpu", "--json")
    result = skelpipe("evaluate", run, "--data", other, *words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["clips"] == 6 and found["data"] == str(other) and not found["scratch"]
    scratch_result = json.loads(skelpipe("evaluate", run, "--data", other, "--scratch", *words).stdout)
    assert scratch_result["scratch"] and scratch_result["folder"] == found["folder"] + "-scratch"
    for given in ((), ("--data", data)):
        refused = skelpipe("evaluate", run, *given, *words)
        assert refused.exit_code == 2 and "that the encoder was not pre-trained on" in refused.stderr


def test_random_weights_differ_from_the_runs(run):
    from recognition.pretraining.encoder import load_pretrained

    own, fresh = (load_pretrained(run, scratch=scratch).encoder.state_dict() for scratch in (False, True))
    stored = run_file.load(run / "best.safetensors")["model"]
    for name, tensor in own.items():
        assert torch.equal(tensor, stored["encoder." + name.removeprefix("network.")]), name
    assert any(not torch.equal(tensor, fresh[name]) for name, tensor in own.items())


@pytest.mark.parametrize("splits", [("train", "test"), ("xsub_train", "xsub_val")])
def test_actions_are_detected_in_long_sequences(run, tmp_path, splits):
    words = ("finetune.epochs=2", "finetune.batch_size=8", "finetune.warmup_epochs=0", "finetune.lr_steps=[]")
    words += ("detection.stride=8", "detection.smooth=3", "detection.fewest=1", "detection.overlap=0.1")
    pairs = [word for pair in words for word in ("--set", pair)]
    file = write_long(tmp_path / "long.pkl", splits=splits)
    result = skelpipe("evaluate", run, "--protocol", "detection", "--data", file, *pairs, *FP32, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["split"] == splits[1] and found["clips"] == found["actions"] == 2
    assert found["settings"]["detection"] == {"stride": 8, "smooth": 3, "fewest": 1, "overlap": 0.1}
    assert 0 <= found["mAP_a"] <= 1 and 0 <= found["mAP_v"] <= 1
    # 60 frames with stride 8: windows at 0, 8, 16, 24, 32, 40 and 44, of six sequences.
    assert "42 windows of 16 frames for training" in result.stderr


def test_future_poses_are_predicted(run, tmp_path):
    words = ("motion.seen=12", "motion.predicted=3", "motion.steps=2", "motion.hidden=8", "motion.batch_size=4")
    pairs = [word for pair in words for word in ("--set", pair)]
    file = write_long(tmp_path / "long.pkl", splits=("train", "test"), actions=False)
    result = skelpipe("evaluate", run, "--protocol", "motion", "--data", file, *pairs, *FP32, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["split"], found["clips"], found["unit"]) == ("test", 2, "pixels")
    # Persons are about 300 pixels tall, and an arm moves by a fraction of that in three frames.
    assert 0.5 < found["MPJPE_of_standing_still"] < 100 and 0 < found["MPJPE"] < 300
    shown = skelpipe("evaluate", run, "--protocol", "motion", "--data", file, *pairs, *FP32)
    assert f"{found['MPJPE']:.1f} pixels" in shown.stdout


def test_missing_data_of_long_sequences_is_reported(run, tmp_path):
    file = write_long(tmp_path / "long.pkl", splits=("train", "test"), actions=False)
    words = ("--data", file, "--device", "cpu")
    result = skelpipe("evaluate", run, "--protocol", "detection", *words)
    assert result.exit_code == 2 and "contains no actions within its clips" in result.stderr
    result = skelpipe("evaluate", run, "--protocol", "motion", *words, "--set", "motion.seen=70")
    assert result.exit_code == 2 and "each split needs a clip with 80 frames" in result.stderr
    result = skelpipe("evaluate", run, "--protocol", "motion", *words, "--fuse", run)
    assert result.exit_code == 2 and "omit --fuse" in result.stderr
    result = skelpipe("evaluate", run, "--protocol", "motion", *words, "--set", "motion.sene=5")
    assert result.exit_code == 2 and "did you mean 'motion.seen'?" in result.stderr
    file = write_long(tmp_path / "odd.pkl", splits=("first_half", "rest"))
    result = skelpipe("evaluate", run, "--protocol", "detection", "--data", file, "--device", "cpu")
    assert result.exit_code == 2 and "--train-split in `evaluate --protocol`" in result.stderr


def test_encoders_are_fused_by_probabilities(run):
    words = ("--protocol", "linear", "--set", "linear.views=1", *FP32, "--json")
    alone = json.loads(skelpipe("evaluate", run, *words).stdout)
    twice = json.loads(skelpipe("evaluate", run, "--fuse", run, *words).stdout)
    assert len(twice["runs"]) == 2 and twice["top1"] == alone["top1"]


def test_a_recognizer_starts_from_an_encoder(run, data, tmp_path):
    out = tmp_path / "tuned"
    words = ("phase1_epochs=1", "warmup_epochs=0", "holdout=0.25", "batch_size=16", "model.hidden=16")
    words += ("--init", run, "--data", data, "--out", out, "--device", "cpu")
    maskclr = ("objective=maskclr", "phase2_epochs=1")
    if run.name == "pcm3":
        result = skelpipe("train", "pcm3/finetune", *words, *maskclr)
        assert result.exit_code == 2 and "set training.objective=cross_entropy" in result.stderr
        result = skelpipe("train", "pcm3/finetune", *words)
    else:
        result = skelpipe("train", "mamp/finetune", *words, *maskclr)
    assert result.exit_code == 0, result.output
    assert "tensors of the pre-trained encoder" in result.stderr
    settings = run_file.load(out / "last.safetensors")["settings"]
    assert settings["data"]["num_frames"] == 16 and settings["data"]["resample"] == "linear"
    assert settings["model"]["backbone"] == {"mamp": "segments", "pcm3": "gru"}[run.name]
    assert settings["training"]["layer_decay"] == {"mamp": 0.8, "pcm3": 1.0}[run.name]
    measured = skelpipe("evaluate", out, "--no-figures", "--device", "cpu", "--json")
    assert measured.exit_code == 0, measured.output


@pytest.mark.parametrize(
    ("method", "words", "message"),
    [
        ("pcm3", ("pcm3.stream=bone", "lr_steps=[]"), ("the bone stream", "pcm3.stream=joint")),
        ("mamp", ("mamp.input=motion", "warmup_epochs=0"), ("the motion stream", "mamp.input=joint")),
    ],
)
def test_a_bone_or_motion_stream_cannot_initialise_a_recognizer(data, tmp_path, method, words, message):
    result = pretrain(method, data, tmp_path / "own", "epochs=1", *words)
    assert result.exit_code == 0, result.output
    result = skelpipe(
        "train", f"{method}/finetune", "--init", tmp_path / "own", "--data", data, "--out", tmp_path / "t"
    )
    assert result.exit_code == 2 and all(part in result.stderr for part in message)
    assert not (tmp_path / "t").exists()


def test_unlabelled_clips_are_used_for_training(data, tmp_path):
    from pose_extraction.formats.pickles import read_pickle

    content = read_pickle(data)
    for clip in content["annotations"]:
        clip["label"] = -1
        clip.pop("label_name", None)
    write_pickle(tmp_path / "none.pkl", {**content, "label_names": []})
    result = pretrain("mamp", tmp_path / "none.pkl", tmp_path / "run", "epochs=2", "--split", "all")
    assert result.exit_code == 0, result.output
    assert len(json.loads((tmp_path / "run" / "split.json").read_text())["training"]) == 48


def test_a_dry_run_reports_and_writes_nothing(data, tmp_path):
    result = pretrain("mamp", data, tmp_path / "run", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "36, with or without labels" in result.stdout and "of them in the encoder" in result.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "words", "message"),
    [
        ("mamp", ("mamp.ratio=0",), "mamp.ratio=0 hides none of the 68 tokens of a sequence"),
        ("pcm3", ("pcm3.positives=[]", "pcm3.prediction=0"), "leave no loss to train with; name pairs"),
        ("pcm3", ("pcm3.ratio=0.1",), "masks none of the 5 body parts of coco17; set it to 0.2 or more"),
    ],
)
def test_empty_objectives_are_refused(data, tmp_path, method, words, message):
    result = pretrain(method, data, tmp_path / "run", *words)
    assert result.exit_code == 2 and message in result.stderr
    assert not (tmp_path / "run").exists()


def test_an_unused_mask_ratio_is_accepted(data, tmp_path):
    words = ("pcm3.ratio=0.1", "pcm3.positives=[intra]", "pcm3.prediction=0")
    result = pretrain("pcm3", data, tmp_path / "run", "--dry-run", *words)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("num_frames=18",), "data.num_frames=18 is not a multiple of model.segment_frames=4; set it to 20"),
        (("num_frames=own",), "pre-training requires clips of one length"),
        (("mamp.rato=0.5",), "did you mean 'mamp.ratio'?"),
        (("placement=first_frame",), "data.placement=first_frame requires ntu25 in 3D"),
        (("warmup_epochs=3",), "training.warmup_epochs 3 must be less than training.epochs 3"),
        (("--split", "dev"), "there is no split 'dev'"),
    ],
)
def test_invalid_settings_are_refused_in_one_sentence(data, tmp_path, words, message):
    result = pretrain("mamp", data, tmp_path / "run", *words)
    assert result.exit_code == 2 and message in result.stderr
    assert not (tmp_path / "run").exists()


def test_runs_of_the_two_kinds_are_distinguished(run):
    result = skelpipe("evaluate", run, "--device", "cpu")
    assert result.exit_code == 1 and "not a recognizer; train a recognizer with `skelpipe train --init" in result.stderr
    result = skelpipe("evaluate", run, "--protocol", "linaer")
    assert result.exit_code == 2 and "unknown protocol 'linaer'" in result.stderr
    result = skelpipe("evaluate", run, "--scratch")
    assert result.exit_code == 2 and "add --protocol" in result.stderr


def test_both_methods_accept_3d_joints(tmp_path):
    rng = np.random.default_rng(0)
    clips = []
    for number in range(12):
        keypoint = rng.normal(size=(2, 30, 25, 3)).astype(np.float32)
        keypoint[1] = 0 if number % 2 else keypoint[1]
        name = f"S001C001P00{1 + number % 2}R00{number % 9}A00{1 + number % 3}"
        clips.append({"frame_dir": f"{name}{number}", "label": number % 3, "total_frames": 30, "keypoint": keypoint})
    write_pickle(tmp_path / "ntu.pkl", {"split": {"xsub_train": [c["frame_dir"] for c in clips]}, "annotations": clips})
    for method in ("mamp", "pcm3"):
        words = [word for word in SMALL[method][1:] if not word.startswith("warmup")]
        result = skelpipe(
            "pretrain",
            f"{method}/ntu60_xsub",
            *words,
            *("num_frames=16", "epochs=2", "batch_size=4", "warmup_epochs=0", "--device", "cpu"),
            *("--data", tmp_path / "ntu.pkl", "--out", tmp_path / method),
        )
        assert result.exit_code == 0, result.output
        assert run_file.load(tmp_path / method / "best.safetensors")["dimensions"] == 3


def test_a_detector_predicts_actions_over_time(run, tmp_path):
    """The left arm waves from frame 20 to 40 of 60, at 20 fps, in one long sequence, the right one in another."""
    file = write_long(tmp_path / "long.pkl", splits=("train", "test"))
    from pose_extraction.formats.pickles import read_pickle

    content = read_pickle(file)
    for clip in content["annotations"]:
        clip["fps"] = 20.0
    write_pickle(file, content)
    mine = tmp_path / run.name
    mine.mkdir()
    shutil.copy(run / "best.safetensors", mine)
    refused = skelpipe("predict", "--run", mine, "--windows", "0.8", file, "--device", "cpu")
    assert refused.exit_code == 1 and "--protocol linear" in refused.stderr
    words = ("finetune.epochs=20", "finetune.batch_size=8", "finetune.warmup_epochs=0", "finetune.lr_steps=[]")
    words += (
        "detection.stride=4",
        "finetune.lr=0.003",
        "finetune.optimizer=adamw",
        "finetune.drop_path=0",
        "finetune.layer_decay=1",
    )
    pairs = [word for pair in words for word in ("--set", pair)]
    result = skelpipe("evaluate", mine, "--protocol", "detection", "--data", file, *pairs, *FP32, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["detector"] == str(mine / "detector.safetensors")
    outcome = skelpipe("predict", "--run", mine, "--windows", "0.8", file, "--split", "test", *FP32, "--json")
    assert outcome.exit_code == 0, outcome.output
    answers = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert {answer["clip"] for answer in answers} == {"long0", "long1"}
    for clip, arm in (("long0", "left arm"), ("long1", "right arm")):
        waving = [a for a in answers if a["clip"] == clip and a["label"] == arm]
        assert waving, answers
        seconds = sum(min(a["end"], 2.0) - max(a["start"], 1.0) for a in waving if a["end"] > 1 and a["start"] < 2)
        # 0.8 to 1.0 with ten seeds.
        assert seconds > 0.5, answers
    far = skelpipe("predict", "--run", mine, "--windows", "3", file, "--split", "test", *FP32, "--json")
    assert far.exit_code == 0 and "was trained on windows of 0.8 s" in far.stderr
    refused = skelpipe("predict", "--run", mine, file, "--device", "cpu")
    assert (
        refused.exit_code == 2
        and "in seconds with --windows" in refused.stderr
        and "trained on windows of 0.8" in refused.stderr
    )
    refused = skelpipe("predict", "--run", mine, "--windows", "0.8", "--explain", file, "--device", "cpu")
    assert refused.exit_code == 2 and "provides no attention" in refused.stderr


def test_a_detector_of_3d_joints_predicts_3d_files(tmp_path):
    """As written by `convert pkummd --untrimmed`: no scores, no image size, 30 fps; one clip has one person."""
    rng = np.random.default_rng(0)
    standing = rng.normal(size=(25, 3)) * (0.2, 0.5, 0.1)
    clips = []
    for number in range(8):
        keypoint = np.repeat(standing[None, None], 60, axis=1) + rng.normal(size=(2, 1, 1, 3)) + (0, 0, 3)
        arm = range(4, 8) if number % 2 else range(8, 12)
        keypoint[0, 20:40, arm, 1] += 0.8 + 0.3 * np.sin(np.arange(20) + rng.uniform(0, 6))
        keypoint[1] *= number < 7
        clip = {"frame_dir": f"long{number}", "label": -1, "total_frames": 60, "keypoint": keypoint.astype(np.float32)}
        clips.append(clip | {"fps": 30.0, "actions": [[number % 2, 20, 40]]})
    names = [clip["frame_dir"] for clip in clips]
    split = {"train": names[:6], "test": names[6:]}
    file = tmp_path / "long.pkl"
    write_pickle(file, {"split": split, "annotations": clips, "label_names": ["right arm", "left arm"]})
    mine = tmp_path / "mine"
    words = ("placement=first_frame", "random_move=false", "epochs=1", "warmup_epochs=0", "max_persons=2")
    result = pretrain("mamp", file, mine, *words)
    assert result.exit_code == 0, result.output
    words = ("finetune.epochs=20", "finetune.batch_size=8", "finetune.warmup_epochs=0", "finetune.lr_steps=[]")
    words += ("detection.stride=8", "finetune.lr=0.003", "finetune.optimizer=adamw", "finetune.drop_path=0")
    pairs = [word for pair in (*words, "finetune.layer_decay=1") for word in ("--set", pair)]
    result = skelpipe("evaluate", mine, "--protocol", "detection", "--data", file, *pairs, *FP32)
    assert result.exit_code == 0, result.output
    words = ("predict", "--run", mine, file, "--split", "test", *FP32, "--json")
    outcome = skelpipe(*words, "--windows", "0.55")
    assert outcome.exit_code == 0, outcome.output
    answers = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert {(answer["clip"], answer["person"]) for answer in answers} == {("long6", 0), ("long6", 1), ("long7", 0)}
    for clip, arm in (("long6", "right arm"), ("long7", "left arm")):
        waving = [a for a in answers if (a["clip"], a["person"], a["label"]) == (clip, 0, arm)]
        seconds = sum(min(a["end"], 40 / 30) - max(a["start"], 20 / 30) for a in waving)
        # 0.57 to 0.67 with ten seeds.
        assert seconds > 1 / 3, answers
    assert max(answer["end"] for answer in answers) == pytest.approx(2, abs=0.01)
    together = skelpipe(*words, "--windows", "3", "--together")
    assert together.exit_code == 0 and "was trained on windows of 0.53 s" in together.stderr
    assert {json.loads(line)["person"] for line in together.stdout.splitlines()} == {None}
