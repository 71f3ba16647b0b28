"""Reading YAML: plain data, or one kind of error with the place.

PyYAML follows YAML 1.1 and is lenient. Here, a key that occurs twice is an error instead of silently overriding the
first one, numbers are decimal (`010` is 10, not octal; `1:30` is text, not sexagesimal), and dates are text.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"
_INT, _FLOAT, _TIMESTAMP = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))
_WHOLE = re.compile(r"[-+]?(?:0x[0-9a-fA-F_]+|[0-9][0-9_]*)$")
# A text that PyYAML writes without quotes must not become a number, so 1e3 without a point stays text.
_FRACTION = re.compile(
    r"(?:(?:[-+]?[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


class _YamlLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        # Before the base class merges the mappings of `<<`, whose keys may be overridden.
        seen: set[Hashable] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = None if key_node.tag == _MERGE else self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key is not None:
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} occurs twice; delete one", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node)).replace("_", "")
        return int(text, 16 if "x" in text else 10)


_YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT, _TIMESTAMP)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_YamlLoader.add_implicit_resolver(_FLOAT, _FRACTION, list("-+0123456789."))
_YamlLoader.add_implicit_resolver(_INT, _WHOLE, list("-+0123456789"))
_YamlLoader.add_constructor(_INT, _YamlLoader.construct_yaml_int)


def read_yaml(text: str) -> Any:
    """Read one YAML document of dictionaries, lists, text, numbers, booleans and nulls.

    Args:
        text: The document.

    Returns:
        Its content; None for an empty document.

    Raises:
        yaml.YAMLError: The text is not valid YAML, a key occurs twice, or a value cannot be represented;
            `yaml_reason` gives the reason.
    """
    try:
        return yaml.load(text, Loader=_YamlLoader)
    except yaml.YAMLError:
        raise
    except RecursionError as error:
        raise yaml.YAMLError("its lists and mappings are nested too deeply; flatten them") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # From the constructors of values with an explicit tag, and of very long numbers.
        raise yaml.YAMLError(f"a value is not of its type ({error}); correct it, or put it in quotes") from error


def yaml_reason(error: Exception) -> str:
    """Return the reason why text is not valid YAML, with its place, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())
