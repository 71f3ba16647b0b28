"""Run the tests as other processors would, by limiting the instructions that the libraries use.

    python test_support/matrix.py  # tests marked `processor`, on ten processors (`make test-matrix`)
    python test_support/matrix.py --all                # the whole suite
    python test_support/matrix.py --product            # every combination of instructions, vector width and threads
    python test_support/matrix.py --rows avx2 busy --select tests/recognition/training/test_run.py -k learns

The outcome of a computation depends on the instructions that compute it: sums are taken in another order, and bf16 is
chosen automatically where the processor multiplies it. ONEDNN_MAX_CPU_ISA limits oneDNN (torch and OpenVINO) and
decides whether skelpipe chooses bf16; ATEN_CPU_CAPABILITY limits torch's own kernels; MKL_ENABLE_INSTRUCTIONS limits
MKL. ONNX Runtime cannot be limited. Rows that need instructions which this processor lacks are left out.

A table of results is printed at the end, and written to --out. The exit status is 1 if any test failed.
"""

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
MARK = "processor"
# Values of ONEDNN_MAX_CPU_ISA, the flag in /proc/cpuinfo that a processor needs for it, and the limit for MKL.
ISAS: Mapping[str, tuple[str, str]] = {
    "AVX2": ("avx2", "AVX2"),
    "AVX512_CORE": ("avx512bw", "AVX512"),
    "AVX512_CORE_BF16": ("avx512_bf16", "AVX512"),
    "AVX512_CORE_AMX": ("amx_bf16", "AVX512"),
}
# Values of ATEN_CPU_CAPABILITY and the flag that each needs.
WIDTHS: Mapping[str, str] = {"default": "", "avx2": "avx2", "avx512": "avx512bw"}
# As oneDNN, torch and skelpipe choose by themselves: bf16 where the processor has it.
BF16 = ("AVX512_CORE_BF16", "AVX512_CORE_AMX")


@dataclass(frozen=True)
class Row:
    """A processor to emulate.

    Args:
        name: In the table, and for --rows.
        isa: Value of ONEDNN_MAX_CPU_ISA; "" for no limit.
        width: Value of ATEN_CPU_CAPABILITY; "" for no limit.
        threads: Threads of OpenMP, and so of torch.
        busy: Whether another process keeps every core busy.
    """

    name: str
    isa: str = ""
    width: str = ""
    threads: int = 2
    busy: bool = False

    @property
    def missing(self) -> str:
        """The instructions that this processor lacks for the row; "" if it can be emulated."""
        wanted = {ISAS[self.isa][0] if self.isa else "", WIDTHS.get(self.width, "")} - {""}
        return ", ".join(sorted(wanted - cpu_flags()))

    @property
    def environment(self) -> dict[str, str]:
        threads = str(self.threads)
        limits = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
        if self.isa:
            limits |= {"ONEDNN_MAX_CPU_ISA": self.isa, "MKL_ENABLE_INSTRUCTIONS": ISAS[self.isa][1]}
        if self.width:
            limits["ATEN_CPU_CAPABILITY"] = self.width
        return os.environ | limits

    @property
    def precision(self) -> str:
        """The precision that is chosen automatically."""
        if self.isa:
            return "bf16" if self.isa in BF16 else "fp32"
        return "bf16" if cpu_flags() & {"avx512_bf16", "amx_bf16"} else "fp32"


ROWS = (
    Row("own"),
    Row("own-1", threads=1),
    Row("default", "AVX2", "default"),
    Row("default-1", "AVX2", "default", threads=1),
    Row("avx2", "AVX2", "avx2"),
    Row("avx512", "AVX512_CORE", "avx512"),
    Row("avx512-1", "AVX512_CORE", "avx512", threads=1),
    Row("bf16", "AVX512_CORE_BF16", "avx512"),
    Row("amx", "AVX512_CORE_AMX", "avx512"),
    Row("busy", busy=True),
)


def every_row() -> list[Row]:
    """Every combination of instructions, vector width and threads, and this processor with busy cores."""
    rows = [
        Row(f"{isa.lower()}-{width}-{threads}", isa, width, threads)
        for isa, width, threads in itertools.product(ISAS, WIDTHS, (1, 2))
    ]
    return [*rows, Row("busy-1", threads=1, busy=True), Row("busy-2", busy=True)]


@dataclass(frozen=True)
class Outcome:
    """The tests of one row, by their results, and the time they took in seconds."""

    row: Row
    passed: int
    skipped: int
    failed: Sequence[str]
    wall: float
    cpu: float

    @property
    def cells(self) -> tuple[str, ...]:
        row = self.row
        setting = (row.name, row.isa or "-", row.width or "-", str(row.threads), row.precision)
        results = (self.passed, len(self.failed), self.skipped, round(self.cpu), round(self.wall))
        return *setting, "yes" if row.busy else "", *map(str, results)


HEAD = (
    "processor", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "threads", "auto", "busy", "passed", "failed", "skipped",
    "CPU s", "wall s",
)  # fmt: skip


def cpu_flags() -> set[str]:
    """The instruction sets of this processor, as Linux names them; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


@contextmanager
def busy_cores(wanted: bool) -> Iterator[None]:
    """Keep every core busy with a process of its own meanwhile."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)] if wanted else []
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def run(row: Row, words: Sequence[str], timeout: int) -> Outcome:
    """Run pytest as on that processor."""
    with tempfile.TemporaryDirectory() as folder, busy_cores(row.busy):
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", f"timeout={timeout}", "--tb=short"]
        # As `make test`: whole files on each core, the slow ones first. OMP_NUM_THREADS holds in every process.
        command += ["-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder"]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        # torch's key for compiled code lacks ATEN_CPU_CAPABILITY, so that rows would compile each other's vector code.
        environment = row.environment | {"TORCHINDUCTOR_CACHE_DIR": str(Path(folder) / "compiled")}
        status = subprocess.run([*command, f"--junitxml={report}", *words], cwd=ROOT, env=environment).returncode
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cases = list(ElementTree.parse(report).iter("testcase")) if report.is_file() else []
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    failed = [f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}" for case in bad]
    skipped = sum(case.find("skipped") is not None for case in cases)
    if status not in (0, 1) or (status == 1 and not failed) or not cases:
        failed.append(f"pytest ended with status {status}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Outcome(row, len(cases) - skipped - len(bad), skipped, failed, wall, cpu)


def table(outcomes: Sequence[Outcome], missing: Mapping[str, str]) -> str:
    """The results as Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *(outcome.cells for outcome in outcomes)]
    text = [f"| {' | '.join(cells)} |" for cells in lines]
    text += [f"\nnot emulated: {name}, this processor lacks {flags}" for name, flags in missing.items()]
    text += [f"\nfailed on {one.row.name}: {name}" for one in outcomes for name in one.failed]
    return "\n".join(text) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help=f"run every test, instead of those marked `{MARK}`")
    parser.add_argument("--product", action="store_true", help="emulate every combination, instead of ten processors")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="emulate only these rows of the table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table to this Markdown file as well")
    parser.add_argument("--timeout", type=int, default=1200, help="seconds for each test (default: 1200)")
    parser.add_argument(
        "--select", nargs=argparse.REMAINDER, default=[], metavar="WORD", help="arguments for pytest; comes last"
    )
    given = parser.parse_args()
    rows = every_row() if given.product else list(ROWS)
    if given.rows:
        unknown = sorted(set(given.rows) - {row.name for row in rows})
        if unknown:
            parser.error(f"--rows {' '.join(unknown)}: the rows are {', '.join(row.name for row in rows)}")
        rows = [row for row in rows if row.name in given.rows]
    words = given.select or ([] if given.all else ["-m", MARK])
    missing = {row.name: row.missing for row in rows if row.missing}
    outcomes: list[Outcome] = []
    for row in rows:
        if row.name in missing:
            continue
        print(f"== {row.name}: {' '.join(words) or 'all tests'}", flush=True)
        outcomes.append(run(row, words, given.timeout))
        # After each row, so that an interrupted run has a table, too.
        text = table(outcomes, missing)
        if given.out:
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(text, encoding="utf-8")
    print(text if outcomes else table([], missing))
    return int(not outcomes or any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
