"""Optional packages that tests need."""

import importlib.util
from types import ModuleType

import pytest

from pose_extraction.networks.composite_fields import load_library


def openpifpaf_or_skip() -> ModuleType:
    """openpifpaf, loaded as the project loads it; skips the test where it is not installed.

    A plain import fails with matplotlib 3.9 and later.
    """
    if importlib.util.find_spec("openpifpaf") is None:
        pytest.skip("openpifpaf is not installed")
    return load_library()
