"""Check that Python finds the packages of skelpipe rather than other packages with the same names."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

# Packages that are installed next to `skelpipe`. Two of the names are common.
PACKAGES = ("pose_extraction", "recognition", "pipeline")


def check_packages(root: Path) -> None:
    """Refuse to work with packages of another project.

    Args:
        root: Folder that contains `skelpipe` and the other packages.

    Raises:
        ImportError: A package is missing, or another one with its name comes first on Python's search path.
    """
    for name in PACKAGES:
        spec = _spec_of(name)
        if spec is None:
            raise ImportError(f"skelpipe needs its package {name!r}, but it is missing in {root}; reinstall skelpipe")
        found = _place_of(spec)
        if found != root.resolve() / name:
            raise ImportError(
                f"skelpipe needs its package {name!r} in {root}, but Python finds another one: {found}. "
                f"{_fix(name, found)}"
            )


def _spec_of(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except ValueError:
        # A module in sys.modules that was created by hand has no specification.
        return ModuleSpec(name, None, origin=f"a module named {name} that was created at run time")


def _place_of(spec: ModuleSpec) -> Path:
    """Return the folder of a package, or the file of a module."""
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin or spec.name).resolve() if spec.has_location else Path(spec.origin or spec.name)


def _fix(name: str, place: Path) -> str:
    # Slow to import, and reads the metadata of all distributions, but only needed for this error.
    import importlib.metadata

    owners = importlib.metadata.packages_distributions().get(name, [])
    others = sorted({owner for owner in owners if owner.lower() != "skelpipe"})
    if others and place.parent.name in ("site-packages", "dist-packages"):
        return f"Uninstall {' and '.join(others)}, or install skelpipe into a virtual environment of its own."
    return (
        f"Rename {place.name}, start Python in another folder, or remove {place.parent} from PYTHONPATH and sys.path; "
        "or install skelpipe into a virtual environment of its own."
    )
