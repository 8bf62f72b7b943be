"""What a check of a host found, and how to put it right."""

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How bad it is. Only an error keeps volumes from working, or their data from being safe."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    """The name of the check."""

    level: Level
    found: str
    """A sentence, or a part of one, for people."""

    fix: str = ""
    """A command for root's shell on the same host: one that puts it right or, where that takes a
    person, one that shows more. Words in capitals are to be filled in. Empty where nothing is
    wrong."""


def ok(check: str, found: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check, Level.OK, found)


def warning(check: str, found: str, fix: str) -> Finding:
    """Something will go wrong later, or is worse than it need be."""
    return Finding(check, Level.WARNING, found, fix)


def error(check: str, found: str, fix: str) -> Finding:
    """Something does not work, or data is in danger."""
    return Finding(check, Level.ERROR, found, fix)
