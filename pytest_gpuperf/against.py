"""What ``--gpu-against`` asks for: the program that runs beside each case as its live reference."""

from __future__ import annotations

from dataclasses import dataclass

#: Kind → what stands after the colon; the empty kind stands alone.
KINDS = {"baseline": "", "git": "REV", "python": "INTERPRETER", "engine": "FILE"}
FORMS = "|".join([f"{kind}:{value}" if value else kind for kind, value in KINDS.items()] + ["none"])


@dataclass(frozen=True, slots=True)
class Against:
    """One of :data:`KINDS`, and the revision, interpreter or file that it names."""

    kind: str
    value: str = ""

    def __str__(self) -> str:
        """Return it as it is written on the command line."""
        return f"{self.kind}:{self.value}" if self.value else self.kind


def parse(text: str) -> Against | None:
    """Read the option's value; ``none`` is ``None``.

    Raises:
        ValueError: it is none of the forms; the message says which there are.
    """
    kind, _, value = (part.strip() for part in text.partition(":"))
    if (kind, value) == ("none", ""):
        return None
    if kind not in KINDS or bool(value) is not bool(KINDS[kind]):
        raise ValueError(f"one of {FORMS.replace('|', ', ')}")
    return Against(kind, value)
