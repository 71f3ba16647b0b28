"""What only a GPU can show, in one command of at most seven minutes.

    python benchmarks/gpu_check.py [--device cuda:0] [--out gpu.md] [--only equality extraction ...] [--seconds 420]
    python benchmarks/gpu_check.py --toy --device cpu     # the same code with the smallest networks, to test it

Sections: `equality`, poses on the device and on the CPU in fp32; `crops`, persons cut out of a frame on the device and
by OpenCV; `decoding`, frames decoded by the GPU and by the CPU; `extraction`, frames per second against
MMPoseInferencer at equal work, and the share of the networks (goals: 20 times as fast, 80 %); `memory`, a batch that
does not fit; `training`, a step of phase two at the paper's size against the plain recipe (goal: 10 times as fast);
`sharing`, two extractions on one card. Each section runs in a process of its own. One that fails is reported, and the
others run. One that takes longer than the time left is stopped, and what it had measured is reported. The clip is
generated, and all networks have seeded random weights, so nothing is downloaded. The exit status is 1 if a section
failed or results differ; what was not measured, because the time was over or there is no GPU, is said and gives 0.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_extraction.engines.devices import resolve_device
from pose_extraction.engines.engine import Engine
from pose_extraction.errors import BackendError
from pose_extraction.networks.estimators import load_estimator
from pose_extraction.networks.identity import NetworkOptions, identify
from pose_extraction.networks.topdown import TopdownEstimator
from test_support.videos.made_video import write_made_clip

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 420
SEED = "seed:0"
# Of heat maps in fp32: kernels add in different orders.
LARGEST_RELATIVE = 1e-3


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Args:
        device: Device under test.
        estimators: Pose networks of `equality`.
        estimator: Pose network of the other sections.
        detector: Person detector.
        size: (height, width) of the clip in pixels.
        frames: Its length.
        training: Arguments of `recognition_speed.py`.
        extraction: Further arguments of `extract_vs_mmpose.py`.
        clip: The clip.
        toy: Whether this is the plan for the smallest networks.
    """

    device: str
    estimators: Sequence[str]
    estimator: str
    detector: str
    size: tuple[int, int]
    frames: int
    training: Sequence[str]
    extraction: Sequence[str]
    clip: Path
    toy: bool


def plan_for(device: str, folder: Path, *, toy: bool) -> Plan:
    """Return the plan, and write its clip into a folder, unless it is there."""
    clip = folder / "clip.mp4"
    if toy:
        few = ["--variants", "fp32, equal work", "defaults"]
        small = ["--small", "--clips", "2", "--batch-size", "1", "--rounds", "1", "--warmup", "0", "--only", "+ bf16"]
        plan = Plan(
            device, ("vitpose-tiny",), "hrnet-tiny", "rtmdet-nano-rendered", (120, 160), 4, small, few, clip, toy
        )
    else:
        training = ["--clips", "12", "--batch-size", "2", "--rounds", "1"]
        plan = Plan(
            device, ("vitpose-b", "hrnet-w32"), "hrnet-w32", "rtmdet", (1080, 1920), 240, training, [], clip, toy
        )
    if not clip.exists():
        write_made_clip(clip, size=plan.size, frames=plan.frames, persons=2)
    return plan


def options_on(device: str, batch_size: int | None = None) -> NetworkOptions:
    """Return options for torch in fp32."""
    return NetworkOptions(Engine(device, "torch", "fp32", batch_size))


def estimator_on(name: str, options: NetworkOptions) -> TopdownEstimator:
    """Build a top-down estimator with seeded random weights."""
    found = load_estimator(identify("estimator", name, checkpoint=SEED, options=options), options)
    assert isinstance(found, TopdownEstimator)
    return found


def equality(plan: Plan) -> Iterator[str]:
    """Compare heat maps and joints of the same crops on the device and on the CPU."""
    picture = np.random.default_rng(0).integers(0, 255, (*plan.size, 3), np.uint8)
    height, width = plan.size
    box = np.array([[0, 0, width / 2, height], [width / 3, height / 4, width, height]], np.float32)
    yield "| network | heat maps, largest difference / largest value | joints, largest difference in pixels |"
    yield "|---|---|---|"
    for name in plan.estimators:
        on_cpu, on_device = (estimator_on(name, options_on(device)) for device in ("cpu", plan.device))
        crops = on_cpu.crop(picture, box)
        expected, actual = (one.heatmaps(crops.images)[0] for one in (on_cpu, on_device))
        # The maximum of almost equal cells may jump: joints are decoded from maps that differ by rounding only.
        joints = [one.decode([maps], crops.center, crops.scale)[0] for one, maps in
                  ((on_cpu, expected), (on_device, actual))]  # fmt: skip
        seen = np.isfinite(joints[0]).all(axis=-1) & np.isfinite(joints[1]).all(axis=-1)
        difference = np.abs(joints[0] - joints[1])[seen].max(initial=0)
        relative = np.abs(actual - expected).max() / np.abs(expected).max()
        verdict = " DIFFERENT" if relative > LARGEST_RELATIVE else ""
        yield f"| {name} | {relative:.1e}{verdict} | {difference:.3f} of {seen.sum()} joints |"


def crops(plan: Plan) -> Iterator[str]:
    """Compare and measure the cutting out of persons."""
    from benchmarks.gpu import stages

    yield from stages.crops(plan.device, plan.size)


def decoding(plan: Plan) -> Iterator[str]:
    """Compare and measure decoding."""
    from benchmarks.gpu import stages

    yield from stages.decoding(plan.device, plan.clip)


def extraction(plan: Plan) -> Iterator[str]:
    """Measure extraction against MMPoseInferencer, both on the device."""
    words = [plan.clip, "--device", plan.device, "--estimator", plan.estimator, "--detector", plan.detector]
    yield from ran(
        "extract_vs_mmpose.py", *words, "--frames", plan.frames, "--repeats", 1, "--no-memory", *plan.extraction
    )


def memory(plan: Plan) -> Iterator[str]:
    """Let a batch of an estimator run out of memory."""
    import torch

    if not plan.device.startswith("cuda"):
        yield "not on a CPU: torch has no limit of memory there"
        return
    device = torch.device(plan.device)
    total = torch.cuda.get_device_properties(device).total_memory
    batch = 4096
    estimator = estimator_on(plan.estimator, options_on(plan.device, batch))
    # Far less than the batch needs.
    torch.cuda.set_per_process_memory_fraction(min(1.0, (3 << 30) / total), device)
    try:
        torch.cuda.reset_peak_memory_stats(device)
        maps = estimator.heatmaps(np.zeros((batch, *estimator.spec.input_size, 3), np.uint8))[0]
        peak = torch.cuda.max_memory_allocated(device) / 2**30
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    yield f"{batch} crops with 3 GiB: {len(maps)} results, peak {peak:.2f} GiB, smaller batches as standard error says"


def training(plan: Plan) -> Iterator[str]:
    """Measure training steps of phase two."""
    yield from ran("recognition_speed.py", "--device", plan.device, *plan.training)


def sharing(plan: Plan) -> Iterator[str]:
    """Extract the clip with one process, then with two at the same time, whose results must be equal."""
    seconds, digests = [], set()
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, 2):
            outs = [Path(folder) / f"{count}-{number}" for number in range(count)]
            began = time.perf_counter()
            processes = [
                subprocess.Popen(extract_command(plan, out), cwd=ROOT, stdout=subprocess.DEVNULL) for out in outs
            ]
            if any(process.wait() for process in processes):
                raise RuntimeError("an extraction failed; its message is above")
            seconds.append(time.perf_counter() - began)
            yield f"{count} at the same time: {seconds[-1]:.1f} s"
            digests |= {next(out.glob("*.pkl")).read_bytes() for out in outs}
    same = "equal" if len(digests) == 1 else "DIFFERENT"
    yield f"two take {seconds[1] / seconds[0]:.2f} times as long as one; all files are {same}"


def extract_command(plan: Plan, out: Path) -> list[str]:
    """Return the command that extracts the clip."""
    networks = ["--estimator", plan.estimator, "--detector", plan.detector]
    seeds = [] if plan.estimator.endswith("tiny") else ["--checkpoint", SEED, "--detector-checkpoint", SEED]
    words = ["extract", str(plan.clip), *networks, *seeds, "--device", plan.device, "--out", str(out)]
    return [sys.executable, "-m", "pipeline.cli", *words]


def ran(script: str, *words: object) -> Iterator[str]:
    """Yield the lines that another benchmark prints."""
    command = [sys.executable, "-u", str(ROOT / "benchmarks" / script), *map(str, words)]
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield line.rstrip("\n")
        if process.returncode:
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:]
            raise RuntimeError(f"{script} ended with status {process.returncode}: {last}")


SECTIONS: dict[str, Callable[[Plan], Iterator[str]]] = {
    "equality": equality,
    "crops": crops,
    "decoding": decoding,
    "memory": memory,
    "training": training,
    "extraction": extraction,
    "sharing": sharing,
}


def without_device(device: str) -> str:
    """Return why nothing can be measured on a device; empty if it is there."""
    try:
        resolve_device(device)
    except BackendError as error:
        return str(error)
    return ""


def machine(device: str) -> str:
    """Return the device, its memory, and the versions."""
    import torch

    if not device.startswith("cuda"):
        return f"{device}, torch {torch.__version__}"
    facts = torch.cuda.get_device_properties(torch.device(device))
    return f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, torch {torch.__version__}, CUDA {torch.version.cuda}"


def section(plan: Plan, name: str, seconds: float) -> list[str]:
    """Run a section in a process of its own, and return what it printed until its end, or until the time was over."""
    words = ["--section", name, "--device", plan.device, "--folder", str(plan.clip.parent)]
    command = [sys.executable, "-u", __file__, *words, *(["--toy"] if plan.toy else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryFile("w+") as output:
        # A group of its own, because a section starts processes, too.
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, env=environment, start_new_session=True)
        over = []
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            over = [f"STOPPED after {seconds:.0f} s; the rest was not measured: run it with --only {name}"]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        lines = output.read().splitlines()
    if process.returncode and not over and not any(line.startswith("FAILED: ") for line in lines):
        lines.append(f"FAILED: the process of the section ended with status {process.returncode}")
    return lines + over


def print_section(plan: Plan, name: str) -> None:
    """Print the lines of a section as they come."""
    try:
        for line in SECTIONS[name](plan):
            print(line)
    except Exception as error:  # noqa: BLE001  (the other sections are to run, whatever the reason)
        print(f"FAILED: {type(error).__name__}: {error}")


def report(plan: Plan, names: Sequence[str], seconds: float = SECONDS) -> str:
    """Run sections until the time is over, and return their results as Markdown."""
    end = time.perf_counter() + seconds
    lines = [f"# GPU check: {machine(plan.device)}"]
    for name in names:
        lines += ["", f"## {name}", ""]
        started = time.perf_counter()
        if started >= end:
            lines.append(f"NOT MEASURED: {seconds:.0f} s are over; run it with --only {name}")
            continue
        lines += [*section(plan, name, end - started), "", f"{time.perf_counter() - started:.0f} s"]
    return "\n".join(lines) + "\n"


def has_failed(text: str) -> bool:
    """Return whether a section of a report failed. One that was not measured, because the time was over, did not."""
    return any(line.startswith("FAILED: ") or "DIFFERENT" in line for line in text.splitlines())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0", help="device to check (default: %(default)s)")
    parser.add_argument("--toy", action="store_true", help="the smallest networks and a tiny clip")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to run")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time limit (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="also write the report to this file")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.section is not None:
        print_section(plan_for(arguments.device, arguments.folder, toy=arguments.toy), arguments.section)
        return 0
    missing = without_device(arguments.device)
    if missing:
        return _reported(f"NOT MEASURED: {missing}\n", arguments.out)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_for(arguments.device, Path(folder), toy=arguments.toy)
        # Making the clip counts, too.
        text = report(plan, arguments.only, arguments.seconds - (time.perf_counter() - began))
    return _reported(text, arguments.out)


def _reported(text: str, out: Path | None) -> int:
    """Print a report, also to a file, and return the exit status."""
    print(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    return int(has_failed(text))


if __name__ == "__main__":
    sys.exit(main())
