"""Self-contained HTML pages, with embedded style, tables, images and videos."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; }
th, td { padding: 3px 10px; border-bottom: 1px solid #e4e4e4; text-align: right; }
th:first-child, td:first-child, td.word { text-align: left; } th { background: #f4f4f4; position: sticky; top: 0; }
td.better { color: #00683f; font-weight: 600; } td.worse { color: #b23c00; font-weight: 600; }
img, video { max-width: 100%; } figure { margin: 1.5em 0; } figcaption { color: #555; }
details { margin: 1em 0; } code, pre { background: #f4f4f4; padding: 0 3px; } pre { padding: 0.7em; overflow-x: auto; }
"""


def document(title: str, body: Iterable[str]) -> str:
    """Builds a complete page.

    Args:
        title: Plain text.
        body: Fragments of HTML.
    """
    content = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{content}\n</body></html>\n"
    )


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, word_columns: int | None = None) -> str:
    """Builds a table from plain text.

    Args:
        head: Column names.
        rows: Cells.
        word_columns: Number of leading columns with words, which are left-aligned; None for all.
    """
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="word">{escape(text)}</td>'
            if word_columns is None or column < word_columns
            else f"<td>{escape(text)}</td>"
            for column, text in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return html_table_of(head, body)


def html_table_of(head: Sequence[str], body: str) -> str:
    """Builds a table from rows in HTML.

    Args:
        head: Column names, plain text.
        body: Rows in HTML.
    """
    heads = "".join(f"<th>{escape(one)}</th>" for one in head)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def picture(words: str, content: bytes, *, kind: str = "png", caption: str = "") -> str:
    """Embeds an image.

    Args:
        words: Alternative text.
        content: Bytes of the image file.
        kind: "png" or "jpeg".
        caption: HTML below it.
    """
    source = base64.b64encode(content).decode()
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><img alt="{escape(words)}" src="data:image/{kind};base64,{source}">{below}</figure>'


def film(content: bytes, *, caption: str = "") -> str:
    """Embeds an MP4 video that loops.

    Args:
        content: Bytes of the video file.
        caption: HTML below it.
    """
    source = base64.b64encode(content).decode()
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><video controls loop muted src="data:video/mp4;base64,{source}"></video>{below}</figure>'
