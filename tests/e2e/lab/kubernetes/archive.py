"""Images of a single layer, written without any tool: what a static program needs, and no more."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

NOBODY = "65532:65532"


def write(
    archive: Path,
    name: str,
    files: Mapping[str, Path | str],
    entrypoint: Sequence[str],
    user: str = NOBODY,
) -> None:
    """Write an image as `docker save` would, for `ctr image import`.

    `files`: by the path in the image, programs of this machine, or, as a text, the target of a
    symbolic link. The same files always make the same archive.
    """
    layer = archive.with_suffix(".layer")
    _write_layer(layer, files)
    digest = _digest(layer)
    configuration = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "User": user, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    configuration_name = f"{hashlib.sha256(configuration).hexdigest()}.json"
    layer_name = f"{digest}.tar"
    manifest = [{"Config": configuration_name, "RepoTags": [name], "Layers": [layer_name]}]
    with tarfile.open(archive, "w") as tar:
        _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())
        _add_bytes(tar, configuration_name, configuration)
        with layer.open("rb") as content:
            entry = tarfile.TarInfo(layer_name)
            entry.size = layer.stat().st_size
            tar.addfile(entry, content)
    layer.unlink()


def _write_layer(layer: Path, files: Mapping[str, Path | str]) -> None:
    directories = sorted({str(parent) for path in files for parent in Path(path).parents} - {"."})
    with tarfile.open(layer, "w") as tar:
        for directory in directories:
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            tar.addfile(entry)
        for path, source in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            if isinstance(source, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, source
                tar.addfile(entry)
                continue
            entry.mode, entry.size = 0o755, source.stat().st_size
            with source.open("rb") as content:
                tar.addfile(entry, content)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
