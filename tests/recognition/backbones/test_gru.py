"""PCM3's encoder as the backbone of a recognizer, and batch normalisation over two processes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError
from recognition.backbones import build_backbone
from recognition.backbones.gru import GRUEncoder, RecurrentBackbone, check_recurrent
from recognition.data.batches import Batch
from recognition.distributed import find_shares, gather
from recognition.inference.clip_networks import network_for
from recognition.pretraining.pcm3 import flatten_frames
from recognition.recognizer import Recognizer
from recognition.settings import DataSettings, ModelSettings

pytestmark = pytest.mark.processor

CLIPS = 5


def small() -> Recognizer:
    torch.manual_seed(0)
    settings = ModelSettings(backbone="gru", dim=8, depth=2, persons=2, max_frames=12)
    recognizer = Recognizer(build_backbone(settings, num_joints=17, channels=3), 4, dropout=0.0)
    torch.nn.init.normal_(recognizer.backbone.encoder.norm.running_mean)
    return recognizer.eval()


def batch_of(lengths: tuple[int, ...] = (10, 10, 10)) -> Batch:
    generator = torch.Generator().manual_seed(1)
    frame_mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    keypoint = torch.rand(3, 2, max(lengths), 17, 3, generator=generator) * frame_mask[:, None, :, None, None]
    person_mask = torch.tensor([[True, True], [True, False], [True, False]])
    keypoint[~person_mask] = 0
    return Batch(keypoint, person_mask, frame_mask, torch.arange(3), torch.arange(3), ("a", "b", "c"))


def test_a_clip_of_one_person_is_represented_by_its_last_frame() -> None:
    recognizer, batch = small(), batch_of()
    assert isinstance(recognizer.backbone, RecurrentBackbone)
    with torch.inference_mode():
        last = recognizer.backbone.encoder(flatten_frames(batch.keypoint))[:, -1]
        torch.testing.assert_close(recognizer(batch)[1:], recognizer.head.fc2(last)[1:])


def test_padding_has_no_influence() -> None:
    recognizer, batch = small(), batch_of((10, 7, 10))
    alone = Batch(
        batch.keypoint[1:2, :1, :7],
        batch.person_mask[1:2, :1],
        batch.frame_mask[1:2, :7],
        batch.label[1:2],
        batch.index[1:2],
        ("b",),
    )
    with torch.inference_mode():
        torch.testing.assert_close(recognizer(batch)[1:2], recognizer(alone))


@pytest.mark.parametrize("lengths", [(10, 7, 10), (6, 6, 6)])
def test_onnx_matches_torch(lengths: tuple[int, ...]) -> None:
    recognizer, batch = small(), batch_of(lengths)
    features, logits = network_for(recognizer, Engine("cpu", "onnxruntime", "fp32"))(batch)
    with torch.inference_mode():
        expected_features, expected = recognizer.features(batch)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(features, expected_features, rtol=1e-3, atol=1e-5)


def test_unsupported_settings_are_refused() -> None:
    model = ModelSettings(backbone="gru")
    with pytest.raises(UsageError, match="neither attention to mask joints by nor a mask token"):
        check_recurrent(model, DataSettings(num_frames=8), "maskclr")
    with pytest.raises(UsageError, match="requires clips of one length"):
        check_recurrent(model, DataSettings(num_frames="own"), "cross_entropy")
    with pytest.raises(UsageError, match=r"model\.heads=4 has no effect with gru"):
        build_backbone(ModelSettings(backbone="gru", heads=4), num_joints=17, channels=3)
    with pytest.raises(UsageError, match=r"set model\.backbone=gru"):
        build_backbone(ModelSettings(backbone="dstformer", persons=2), num_joints=17, channels=3)
    with pytest.raises(ValueError, match="cross-entropy"):
        small().backbone.encode(torch.zeros(1, 4, 17, 3), return_attention=True)


def step(clips: slice, *, several: bool) -> dict[str, torch.Tensor]:
    """Return the state after a step on this process's clips."""
    torch.manual_seed(0)
    encoder = GRUEncoder(6, hidden=3, layers=1).double()
    whole = torch.randn(CLIPS, 4, 6, dtype=torch.float64)
    module = DistributedDataParallel(encoder) if several else encoder
    features = module(whole[clips])
    gathered = gather(features, find_shares(len(features), features.device))
    (gathered * torch.arange(gathered.numel()).view_as(gathered)).square().mean().backward()
    gradients = {f"gradient of {name}": weight.grad for name, weight in encoder.named_parameters()}
    return {"features": gathered.detach(), **gradients, **encoder.state_dict()}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    result = step(slice(0, 2) if rank == 0 else slice(2, CLIPS), several=True)
    torch.save(result, Path(folder) / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_normalise_as_one(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    expected = step(slice(0, CLIPS), several=False)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: name + text
            )


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2])
