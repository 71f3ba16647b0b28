"""`--resume` of `skelpipe train` and `skelpipe pretrain`: with or without the name of a run."""

from pathlib import Path
from typing import Any

from pipeline.commands.help_pages import HelpCommand
from pose_extraction.errors import UsageError


def run_to_resume(resume: str, out: Path | None) -> Path:
    """Finds the run directory for `--resume`.

    Args:
        resume: Run directory, one of its files of weights, or `NEWEST`.
        out: Value of `--out`.

    Raises:
        UsageError: There is no run, or `resume` and `out` are both given.
    """
    from recognition import run_names

    if resume != NEWEST:
        path = Path(resume)
        if out is not None:
            raise UsageError(f"a resumed run keeps its directory; give either --resume {resume} or --out {out}")
        return path.parent if path.is_file() else path
    return out if out is not None else run_names.newest_run()


# Value of `--resume` without a run.
NEWEST = "newest"


class TrainCommand(HelpCommand):
    """Lets `--resume` be given without a run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = []
        for place, word in enumerate(args):
            words.append(word)
            following = args[place + 1] if place + 1 < len(args) else "-"
            is_setting = "=" in following and not Path(following).exists()
            if word == "--resume" and (following.startswith("-") or is_setting):
                words.append(NEWEST)
        return super().parse_args(ctx, words)
