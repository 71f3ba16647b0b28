"""Trainings leave out torch's compiler, also those of several processes, and leave it intact."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from recognition.engine import processes
from recognition.optimizers import AdamW
loaded = [name for name in ("sympy", "sklearn", "onnxruntime", "scipy") if name in sys.modules]
import torch

def steps(fabric):
    network = torch.nn.Linear(2, 2)
    module, optimizer = fabric.setup(network, AdamW(network.parameters(), lr=0.1, fused=True))
    before = network.weight.detach().clone()
    fabric.backward(module(torch.ones(1, 2)).sum())
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.zero_grad()
    return type(module._forward_module).__name__, bool((network.weight < before).all())

fabrics = [processes.Fabric(accelerator="cpu", devices=1, strategy=s) for s in ("auto", processes.DDPStrategy())]
fabrics[1].launch()
trained = [steps(fabric) for fabric in fabrics]
loaded += [name for name in ("torch._dynamo", "sympy") if name in sys.modules]
import torch._dynamo
compiler = torch._dynamo.OptimizedModule.__module__
trained += [steps(fabric) for fabric in fabrics]
torch.distributed.destroy_process_group()
print(json.dumps([loaded, compiler, trained]))
"""


@pytest.mark.slow
def test_the_compiler_of_torch_is_not_imported_by_a_training() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    trained = [["Linear", True], ["DistributedDataParallel", True]]
    assert json.loads(done.stdout.splitlines()[-1]) == [[], "torch._dynamo.eval_frame", trained * 2]
