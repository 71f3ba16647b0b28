"""The import of Lightning Fabric leaves out torch's compiler, and leaves it intact."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from recognition.engine import processes
loaded = [name for name in ("torch._dynamo", "sympy", "sklearn", "onnxruntime", "scipy") if name in sys.modules]
import torch, torch._dynamo
compiler = torch._dynamo.OptimizedModule.__module__
fabric = processes.Fabric(accelerator="cpu", devices=1)
network = fabric.setup_module(torch.nn.Linear(2, 2))
print(json.dumps([loaded, compiler, list(network(torch.zeros(1, 2)).shape)]))
"""


@pytest.mark.slow
def test_fabric_is_imported_without_the_compiler_of_torch() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [[], "torch._dynamo.eval_frame", [1, 2]]
