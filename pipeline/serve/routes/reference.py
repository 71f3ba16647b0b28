"""A page that describes all addresses, without files from elsewhere."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

_STYLE = "/page/reference.css"
_PAGE = Markup(
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<title>skelpipe: addresses</title><link rel="stylesheet" href="{style}"></head>'
    '<body><h1>{title} {version}</h1><p><a href="/openapi.json">openapi.json</a></p>{parts}</body></html>'
)
_OPERATION = Markup("<section><h2><code>{method} {path}</code></h2><p>{text}</p>{parameters}</section>")
_TABLE = Markup(
    "<table><thead><tr><th>parameter</th><th>in</th><th>type</th></tr></thead><tbody>{rows}</tbody></table>"
)
_ROW = Markup("<tr><td><code>{name}</code></td><td>{place}</td><td>{kind}</td></tr>")


def reference_page(description: Mapping[str, Any]) -> str:
    """Return an HTML page.

    Args:
        description: The application's OpenAPI description.
    """
    parts = [
        _OPERATION.format(
            method=method.upper(),
            path=path,
            text=" ".join(operation.get("description", operation.get("summary", "")).split()),
            parameters=_parameters(operation.get("parameters", [])),
        )
        for path, operations in sorted(description["paths"].items())
        for method, operation in operations.items()
    ]
    about = description["info"]
    return str(_PAGE.format(style=_STYLE, title=about["title"], version=about["version"], parts=Markup("").join(parts)))


def _parameters(parameters: list[Mapping[str, Any]]) -> Markup:
    if not parameters:
        return Markup("")
    rows = [
        _ROW.format(name=one["name"], place=one["in"], kind=escape(_kind_of(one.get("schema", {}))))
        for one in parameters
    ]
    return _TABLE.format(rows=Markup("").join(rows))


def _kind_of(schema: Mapping[str, Any]) -> str:
    choices = schema.get("anyOf", [schema])
    return " or ".join(str(one.get("type", "any")) for one in choices if one.get("type") != "null")
