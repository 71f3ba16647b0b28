"""Where a browser is required, tests of the page fail without one instead of being skipped."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from test_support.services.browser import NAMES, REQUIRED, check_browser, skip_reason

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def without_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize(("value", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_tests_of_the_page_fail_without_a_required_browser(
    without_browser: None, monkeypatch: pytest.MonkeyPatch, value: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv(REQUIRED, value)
    assert (skip_reason() is None) == (value == "1")
    with pytest.raises(outcome, match="no browser"):
        check_browser()


@pytest.mark.parametrize("name", [*NAMES, None])
def test_continuous_integration_requires_the_browser_that_it_has(tmp_path: Path, name: str | None) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for needed in ("bash", "dirname"):
        found = shutil.which(needed)
        assert found is not None
        (programs / needed).symlink_to(found)
    # Not root, so that nothing is installed.
    made = {"id": "echo 1000", "make": f'echo "$1 [${REQUIRED}]"'} | ({} if name is None else {name: "exit 0"})
    for program, text in made.items():
        (programs / program).write_text(f"#!{programs}/bash\n{text}\n")
        (programs / program).chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if key != REQUIRED} | {"PATH": str(programs)}
    done = subprocess.run(
        [programs / "bash", ROOT / ".ci" / "run"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ([f"{step} [{1 if name else ''}]" for step in ("test", "docs")])
    assert ("tests of the web page are skipped" in done.stderr) == (name is None)
