"""Writing and removing a file so that a power cut leaves the old state or the new, never a part."""

import os
from pathlib import Path

_PRIVATE = 0o600


def write(path: Path, content: bytes, temporary: Path | None = None) -> None:
    """Put `content` at `path`, readable by us alone: on return it is on the disk.

    It is written beside `path` first, or as `temporary`, on the same file system, where a stray
    file beside `path` would do harm. What a killed process leaves there, the next write takes over.
    """
    temporary = temporary or path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove `path`, which may be gone already: on return it is off the disk."""
    path.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """A rename or unlink is durable only when its directory is synced (fsync(2), "NOTES")."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
