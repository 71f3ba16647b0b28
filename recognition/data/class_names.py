"""Classes of a skeleton file by other names: OLD=NEW on the command line, and the checks of both."""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence

from pose_extraction.errors import UsageError

# Most class names that a message lists.
_MOST_LISTED = 30


def pair_of(option: str, word: str, *, example: str, form: str = "NAME=VALUE") -> tuple[str, str]:
    """Split the value of an option into name and value.

    Args:
        option: The option, for the message.
        word: Its value, such as `NAME=VALUE`.
        example: A valid value, for the message.
        form: How the help of the option calls the two, for the message.

    Raises:
        UsageError: It does not have this form.
    """
    name, equals, value = word.partition("=")
    if not (name and equals and value):
        raise UsageError(f"{option} {word}: must have the form {form}, such as {example}")
    return name, value


def names_of(option: str, words: Iterable[str]) -> dict[str, str]:
    """Return the new names of classes by their old names; several old names may have the same new one.

    Args:
        option: The option, for messages.
        words: Its values, `OLD=NEW`.

    Raises:
        UsageError: A value has another form, or a class has two new names.
    """
    names: dict[str, str] = {}
    for word in words:
        old, new = pair_of(option, word, example="jack=jumping_jacks", form="OLD=NEW")
        if names.setdefault(old, new) != new:
            raise UsageError(f"{option} {word}: class {old!r} is already called {names[old]!r}; omit one of the two")
    return names


def check_old(option: str, names: Mapping[str, str], known: Collection[str], place: str) -> None:
    """Refuse new names for classes that do not exist.

    Args:
        option: The option, for the message.
        names: New names by old names.
        known: The classes that exist.
        place: Where they do, for the message.

    Raises:
        UsageError: An old name is not among them.
    """
    for old, new in names.items():
        if old not in known:
            raise UsageError(f"{option} {old}={new}: there is no class {old!r} in {place}; {_nearest(old, known)}")


def check_new(option: str, names: Mapping[str, str], known: Collection[str], place: str) -> None:
    """Refuse new names that are not classes of a run; arguments and errors as `check_old`."""
    for old, new in names.items():
        if new not in known:
            raise UsageError(f"{option} {old}={new}: there is no class {new!r} in {place}; {_nearest(new, known)}")


def listed(names: Sequence[str]) -> str:
    """Return class names for a message, the first ones if there are many."""
    return ", ".join(names[:_MOST_LISTED]) + (", ..." if len(names) > _MOST_LISTED else "")


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {listed(list(known))}"
