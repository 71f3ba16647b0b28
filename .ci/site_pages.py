"""A hook of MkDocs: pages of the site that are not in docs/.

README.md becomes the home page, and CONTRIBUTING.md, CHANGELOG.md and SECURITY.md pages of their own. Links between
them and the pages in docs/ are rewritten, so that they work on the site as well as in the repository. The pages of the
API reference are made from `API`.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# File in the repository: page of the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
# Page: its title, an introduction, and the modules or objects that it describes, with the public members of modules.
API: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "api/index.md": (
        "Python interface",
        "The functions and classes that most programs need; [Python](../python.md) shows how to use them.",
        (
            "skelpipe.extract",
            "skelpipe.read_skeletons",
            "skelpipe.write_skeletons",
            "skelpipe.import_skeletons",
            "skelpipe.export_skeletons",
            "skelpipe.train",
            "skelpipe.evaluate",
            "skelpipe.predict",
            "skelpipe.PoseEstimator",
            "skelpipe.Poses",
            "skelpipe.Recognizer",
            "skelpipe.Prediction",
            "skelpipe.extraction.ExtractOptions",
            "skelpipe.Report",
            "skelpipe.Evaluation",
            "skelpipe.Answer",
            "skelpipe.Imported",
            "skelpipe.Exported",
        ),
    ),
    "api/pose_extraction.md": (
        "Pose extraction",
        "From frames to tracked skeletons, and the file format.",
        (
            "pose_extraction.errors",
            "pose_extraction.skeleton",
            "pose_extraction.poses",
            "pose_extraction.formats.annotations",
            "pose_extraction.video.reader",
            "pose_extraction.networks.estimators",
            "pose_extraction.tracking.tracker",
            "pose_extraction.tracking.cleaning",
            "pose_extraction.extraction",
        ),
    ),
    "api/recognition.md": (
        "Recognition",
        "From skeletons to actions: settings, data, backbones and MaskCLR.",
        (
            "recognition.settings",
            "recognition.data.clips",
            "recognition.data.dataset",
            "recognition.backbones.base",
            "recognition.recognizer",
            "recognition.maskclr.masking",
            "recognition.maskclr.contrastive",
            "recognition.maskclr.objective",
            "recognition.runs",
        ),
    ),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=links_of_root(text)))
    for page, (title, introduction, modules) in API.items():
        members = "\n".join(directive_of(module) for module in modules)
        files.append(File.generated(config, page, content=f"# {title}\n\n{introduction}\n\n{members}"))
    return files


def directive_of(module: str) -> str:
    """The line from which mkdocstrings makes the description of a module."""
    # Settings describe themselves by their names, types and defaults.
    options = "    options:\n      show_if_no_docstring: true\n" if module.endswith(".settings") else ""
    return f"::: {module}\n{options}"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return re.sub(r"\]\(\.\./([A-Z]+\.md)", lambda found: f"]({PAGES.get(found[1], found[0])}", markdown)


def links_of_root(text: str) -> str:
    """A page of the repository's root with links as they must be on the site, where docs/ is the root."""

    def rewritten(found: re.Match[str]) -> str:
        target = found[1]
        return f"]({PAGES.get(target, target.removeprefix('docs/'))}"

    return re.sub(r"\]\(((?:docs/)?[\w./-]+\.\w+)", rewritten, text)
