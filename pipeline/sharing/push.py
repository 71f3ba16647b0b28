"""`skelpipe push`: a run on a hub of models, as safetensors, JSON, a manifest with digests, and a model card."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline.sharing.card import card_of
from pipeline.sharing.run_facts import RunFacts
from pose_extraction.errors import UsageError
from pose_extraction.files import sha256_of
from recognition import hub, run_file

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def push(
    facts: RunFacts, target: str, *, private: bool, revision: str | None = None, license_id: str | None = None
) -> hub.Address:
    """Upload a run. Paths of this machine, names of clips and the state of the training stay here.

    Args:
        facts: The run.
        target: hf://OWNER/NAME; the repository is created if it does not exist.
        private: Whether a new repository is visible to its owner only.
        revision: Branch, which is created if it does not exist; None for the main branch.
        license_id: Licence for the model card; None if it is not known.

    Returns:
        Address of the uploaded run with its revision.

    Raises:
        UsageError: The target is not an address, or has a revision.
        BackendError: huggingface_hub is not installed.
        WeightsError: The run is damaged, there is no connection, or no permission.
    """
    address = hub.parse(target)
    if address is None:
        raise UsageError(f"{target}: must be hf://OWNER/NAME")
    if address.revision is not None:
        raise UsageError(f"{target}: name the branch with --revision {address.revision}")
    address = hub.Address(address.repo, revision)
    library = hub.hub_library()
    with TemporaryDirectory() as folder:
        write_files(Path(folder), facts, address, license_id=license_id)
        with hub.explained(address):
            commit = _upload(library.HfApi(), Path(folder), address, facts.name, private=private)
    return hub.Address(address.repo, commit)


def write_files(folder: Path, facts: RunFacts, address: hub.Address, *, license_id: str | None) -> None:
    """Write the files of a run for a hub into an empty folder."""
    content = run_file.portable(run_file.load(facts.weights))
    run_file.save(folder / hub.WEIGHTS, content)
    _write_json(folder / hub.LABELS, content["label_names"])
    _write_json(folder / hub.SETTINGS, content["settings"])
    files = [{"name": path.name, "sha256": sha256_of(path)} for path in sorted(folder.iterdir())]
    _write_json(folder / hub.MANIFEST, {"skelpipe_manifest": hub.FORMAT, "files": files})
    card = card_of(facts, license_id=license_id, address=str(address))
    (folder / hub.CARD).write_text(card, encoding="utf-8")


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _upload(api: "HfApi", folder: Path, address: hub.Address, name: str, *, private: bool) -> str:
    """Upload a folder in one commit, so that no reader sees half of it; return the commit."""
    from huggingface_hub import CommitOperationAdd

    # None: an existing repository, or the default of its owner.
    api.create_repo(address.repo, private=private or None, exist_ok=True)
    if address.revision is not None:
        api.create_branch(address.repo, branch=address.revision, exist_ok=True)
    files = [CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir())]
    found = api.create_commit(
        address.repo, files, commit_message=f"Run {name}, by skelpipe push", revision=address.revision
    )
    return str(found.oid)
