"""Self-contained HTML pages from blocks of text, tables, images and videos. The markup is in `page.html.jinja`."""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text; `code` and **bold** are marked up."""

    text: str
    kind: ClassVar = "paragraph"


@dataclass(frozen=True)
class Listing:
    """Lines of code or commands."""

    text: str
    kind: ClassVar = "listing"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: Plain text.
        style: "word" for left-aligned words, "better" or "worse" for coloured numbers, "" otherwise.
    """

    text: str
    style: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        head: Column names.
        rows: Cells; plain text has no style of its own.
        word_columns: Number of leading columns of plain text that contain words; None for all.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    word_columns: int | None = 0
    kind: ClassVar = "table"

    def heads(self) -> list[Cell]:
        """Returns the head of each column, aligned like its cells."""
        return self._styled(self.head)

    def cells(self) -> Iterator[list[Cell]]:
        """Yields the cells of each row."""
        return map(self._styled, self.rows)

    def _styled(self, row: Sequence[str | Cell]) -> list[Cell]:
        words = len(self.head) if self.word_columns is None else self.word_columns
        return [
            one if isinstance(one, Cell) else Cell(one, "word" if column < words else "")
            for column, one in enumerate(row)
        ]


@dataclass(frozen=True)
class Image:
    """An embedded image.

    Args:
        words: Alternative text.
        content: Bytes of the image file.
        format: "png" or "jpeg".
        caption: Text below it, marked up as in a paragraph.
    """

    words: str
    content: bytes
    format: str = "png"
    caption: str = ""
    kind: ClassVar = "image"


@dataclass(frozen=True)
class Video:
    """An embedded MP4 video that loops.

    Args:
        content: Bytes of the video file.
        caption: Text below it, marked up as in a paragraph.
    """

    content: bytes
    caption: str = ""
    kind: ClassVar = "video"


@dataclass(frozen=True)
class Details:
    """Blocks that the reader can expand.

    Args:
        summary: The line that is always visible.
        blocks: The content.
        open: Whether the content is visible at first.
    """

    summary: str
    blocks: Sequence["Block"]
    open: bool = False
    kind: ClassVar = "details"


@dataclass(frozen=True)
class Section:
    """Blocks below a heading."""

    title: str
    blocks: Sequence["Block"]
    kind: ClassVar = "section"


Block = Paragraph | Listing | Table | Image | Video | Details | Section


def render_page(title: str, blocks: Sequence[Block]) -> str:
    """Renders a complete page. All texts are escaped.

    Args:
        title: Title and main heading.
        blocks: The content.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline.reporting", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    environment.filters["inline"] = _inline
    return environment.get_template("page.html.jinja").render(title=title, blocks=blocks) + "\n"


def _inline(text: str) -> str:
    """Escapes a text, and marks up `code` and **bold**."""
    from markupsafe import Markup, escape

    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", marked))
