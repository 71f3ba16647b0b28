"""Notes on a source: what is missing, what was assumed, and what may affect the poses."""


class Note(str):
    """A sentence about a source.

    Args:
        text: The sentence, with the numbers and names of this source.
        kind: The same in general words, equal for all sources to which it applies; the text if None.
    """

    __slots__ = ("kind",)
    kind: str

    def __new__(cls, text: str, kind: str | None = None) -> "Note":
        note = super().__new__(cls, text)
        note.kind = text if kind is None else kind
        return note

    def __reduce__(self) -> tuple[type["Note"], tuple[str, str]]:
        return Note, (str(self), self.kind)


def kind_of(note: str) -> str:
    """Return the kind of a note; a plain sentence is its own kind."""
    return note.kind if isinstance(note, Note) else note
