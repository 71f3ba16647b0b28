"""Runs on a hub of models, hf://OWNER/NAME: their files, and reading them through huggingface_hub.

A repository of `skelpipe push` has a manifest with the SHA-256 of each file. Only files of the manifest are downloaded,
only safetensors and JSON are allowed among them, and each is compared with its digest whenever it is opened, so nothing
from a hub can execute code, and no file belongs to another revision than its manifest. Addresses, cache and tokens are
those of huggingface_hub.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pose_extraction.errors import BackendError, UsageError, WeightsError, installing
from pose_extraction.files import sha256_of

PREFIX = "hf://"
MANIFEST, WEIGHTS, LABELS, SETTINGS, CARD = (
    "skelpipe.json", "model.safetensors", "labels.json", "settings.json", "README.md"
)  # fmt: skip
# Version of the manifest.
FORMAT = 1
_ALLOWED = (".safetensors", ".json")
# `Path` makes one slash of two.
_ADDRESS = re.compile(r"hf:[/\\]{1,2}(?P<repo>[^/\\@]+[/\\][^/\\@]+)(?:@(?P<revision>[^@]+))?")
_SNAPSHOT = re.compile(r"models--(?P<owner>[^/\\]+)--(?P<name>[^/\\]+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Largest manifest and number of files that are read.
_MOST_BYTES, _MOST_FILES = 1_000_000, 100


@dataclass(frozen=True)
class Address:
    """Address of a run on a hub.

    Args:
        repo: OWNER/NAME.
        revision: Branch, tag or commit; None for the main branch.
    """

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}" + ("" if self.revision is None else f"@{self.revision}")


def parse(run: str | Path) -> Address | None:
    """Return the address of a run on a hub; None for a path.

    Raises:
        UsageError: It begins like an address, but is none.
    """
    text = str(run)
    if not re.match(r"hf:[/\\]", text):
        return None
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise UsageError(f"{text}: must be hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    return Address(found["repo"].replace("\\", "/"), found["revision"])


def address_of(path: Path) -> Address | None:
    """Return the address, with its revision, of a file that `fetch` returned; None for another file."""
    snapshot = path.absolute().parent
    found = _SNAPSHOT.fullmatch(snapshot.parent.parent.name)
    if found is None or snapshot.parent.name != "snapshots" or not _COMMIT.fullmatch(snapshot.name):
        return None
    return Address(f"{found['owner']}/{found['name']}", snapshot.name)


def described(path: Path) -> str:
    """Return how results name a file of weights: its address on a hub, or its path."""
    return str(address_of(path) or path)


def fetch(address: Address) -> Path:
    """Return the weights of a run on a hub, from the cache if they are there.

    Args:
        address: The run. Branches are looked up on the hub; without a connection, the revision of the last time is
            used.

    Returns:
        The file of weights in the cache, from which `address_of` derives the revision.

    Raises:
        BackendError: huggingface_hub is not installed.
        WeightsError: There is no such run or revision, no permission, no connection; or a file is missing, of a kind
            that could contain code, or not the one in the manifest.
    """
    library = hub_library()
    with explained(address):
        offline = not _reachable(library, address)
        manifest = Path(
            library.hf_hub_download(address.repo, MANIFEST, revision=address.revision, local_files_only=offline)
        )
        # All files from the commit of the manifest, even if the branch moves meanwhile.
        commit = manifest.parent.name
        for name, digest in _files_of(manifest, address).items():
            path = Path(library.hf_hub_download(address.repo, name, revision=commit, local_files_only=offline))
            actual = sha256_of(path)
            if actual != digest:
                raise WeightsError(
                    f"{address}: {name} has SHA-256 {actual}, but its manifest says {digest}; delete "
                    f"{path.parent.parent.parent} to download it again, or ask its owner to push it again"
                )
    return manifest.parent / WEIGHTS


def _reachable(library: ModuleType, address: Address) -> bool:
    """Return whether to ask the hub: it answers, and the revision is not a commit in the cache.

    Asking first shows at once that there is no connection; a download would try again for half a minute.
    """
    from huggingface_hub import errors

    if _COMMIT.fullmatch(address.revision or "") and isinstance(
        library.try_to_load_from_cache(address.repo, WEIGHTS, revision=address.revision), str
    ):
        return False
    url = library.hf_hub_url(address.repo, MANIFEST, revision=address.revision)
    try:
        library.get_hf_file_metadata(url)
    except errors.OfflineModeIsEnabled:
        return False
    except errors.HfHubHTTPError as error:
        if error.response is None or error.response.status_code < 500:
            raise
        return False
    except _connection_errors():
        return False
    return True


def _files_of(manifest: Path, address: Address) -> dict[str, str]:
    """Return name and SHA-256 of each file.

    Raises:
        WeightsError: The manifest is damaged, or lists files that are not allowed.
    """
    try:
        if manifest.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES} bytes")
        content: Any = json.loads(manifest.read_text(encoding="utf-8"))
        if content["skelpipe_manifest"] != FORMAT:
            raise ValueError(f"its format is {content['skelpipe_manifest']}, expected {FORMAT}: update skelpipe")
        files = {str(one["name"]): str(one["sha256"]) for one in content["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"{address}: {MANIFEST} is not a readable manifest ({error}); ask its owner to push the run again"
        ) from error
    for name in files:
        if not name.endswith(_ALLOWED) or Path(name).name != name or "\\" in name or name.startswith("."):
            raise WeightsError(
                f"{address}: refused because it lists {name!r}. Only {' and '.join(_ALLOWED)} files without folders "
                "are loaded, because others can contain code; ask its owner to push the run with `skelpipe push`"
            )
    if WEIGHTS not in files or len(files) > _MOST_FILES:
        raise WeightsError(f"{address}: lists {len(files)} files, expected {WEIGHTS} and a few others")
    return files


def hub_library() -> ModuleType:
    """Return huggingface_hub.

    Raises:
        BackendError: It is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise BackendError(f"runs on a hub need huggingface_hub; run {installing('hub')}") from error
    from huggingface_hub.utils import disable_progress_bars

    # Small files; the bars would mix with those of the command.
    disable_progress_bars()
    return huggingface_hub


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Turn errors of huggingface_hub into errors that name the address and the remedy. Tokens are never mentioned.

    Raises:
        WeightsError: There is no such run or revision, no permission, or no connection.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise WeightsError(
            f"{address}: there is no branch, tag or commit {address.revision or 'main'} in {address.repo}"
        ) from error
    except errors.GatedRepoError as error:
        raise WeightsError(f"{address}: requires the consent of its owner; ask for access on its page") from error
    except errors.RepositoryNotFoundError as error:
        raise WeightsError(
            f"{address}: does not exist, or is private; check the name, and for a private run log in with "
            "`hf auth login` or set HF_TOKEN"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise WeightsError(
            f"{address}: no connection to the hub, and this revision is not in the cache; connect once, or specify a "
            "revision that was used before"
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise WeightsError(
            f"{address}: is not a run of skelpipe, or incomplete: a file is missing; its owner can push it with "
            "`skelpipe push`"
        ) from error
    except errors.HFValidationError as error:
        raise UsageError(f"{address}: is not a valid name on the hub ({error})") from error
    except errors.HfHubHTTPError as error:
        raise WeightsError(f"{address}: {_refusal(error)}") from error
    except ValueError as error:
        raise WeightsError(f"{address}: the hub gave an answer that huggingface_hub does not understand") from error
    except OSError as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{address}: cannot be read or written ({error.strerror or type(error).__name__})"
        ) from error
    except _connection_errors() as error:
        raise WeightsError(f"{address}: no connection to the hub ({type(error).__name__}); try again later") from error


def _refusal(error: Any) -> str:
    status = error.response.status_code if error.response is not None else None
    if status in (401, 403):
        return (
            f"the hub refuses permission ({status}); log in with `hf auth login` or set HF_TOKEN to a token that may "
            "do this"
        )
    return f"the hub answered with status {status}; try again later"


def _connection_errors() -> tuple[type[Exception], ...]:
    """Errors of the HTTP library that huggingface_hub uses, whose name depends on its release."""
    from huggingface_hub import errors

    return tuple(kind for kind in errors.HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError" and kind is not OSError)
