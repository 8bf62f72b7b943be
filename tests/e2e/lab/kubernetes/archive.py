"""Images written without any tool: layers of files, and no more."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

NOBODY = "65532:65532"


class File(NamedTuple):
    """A file in a layer of which more is to be said than where it comes from."""

    content: Path | bytes
    mode: int = 0o755
    owner: int = 0
    capabilities: bytes = b""
    """The extended attribute security.capability, as capabilities(7) has it."""


class Image(NamedTuple):
    """An image's name, what it is made of, lowest first, and how it starts."""

    name: str
    layers: Sequence[Path]
    entrypoint: Sequence[str]
    user: str = NOBODY
    path: str = "/bin"


Files = Mapping[str, File | Path | str]
"""By the path in the image: programs of this machine; a text is where a symbolic link leads."""


def write(archive: Path, *images: Image) -> None:
    """Write images as `docker save` would, for `ctr image import`; a layer that several have, once.

    The same layers always make the same archive.
    """
    digests = {layer: _digest(layer) for image in images for layer in image.layers}
    manifest = []
    with tarfile.open(archive, "w") as tar:
        for image in images:
            layers = [digests[layer] for layer in image.layers]
            configuration = _configuration(image, layers)
            name = f"{hashlib.sha256(configuration).hexdigest()}.json"
            _add(tar, tarfile.TarInfo(name), configuration)
            names = [f"{digest}.tar" for digest in layers]
            manifest.append({"Config": name, "RepoTags": [image.name], "Layers": names})
        for layer, digest in digests.items():
            _add(tar, tarfile.TarInfo(f"{digest}.tar"), layer)
        _add(tar, tarfile.TarInfo("manifest.json"), json.dumps(manifest).encode())


def by_digest(archive: Path) -> Mapping[str, str]:
    """For each image of an archive, by its name, how kubelet calls it: no registry gave it another
    digest than that of its configuration."""
    with tarfile.open(archive) as tar:
        manifest = read_json(tar, "manifest.json")
    digests = {each["RepoTags"][0]: Path(each["Config"]).stem for each in manifest}
    return {name: f"{name.rpartition(':')[0]}@sha256:{digests[name]}" for name in digests}


def read_json(archive: tarfile.TarFile, name: str) -> Any:  # noqa: ANN401
    """What is in a file of an archive: its manifest, or the configuration of an image."""
    content = archive.extractfile(name)
    assert content, f"{name} is no file"
    return json.load(content)


def _configuration(image: Image, layers: Sequence[str]) -> bytes:
    starts = {
        "Entrypoint": list(image.entrypoint),
        "User": image.user,
        "Env": [f"PATH={image.path}"],
    }
    differences = [f"sha256:{digest}" for digest in layers]
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": starts,
            "rootfs": {"type": "layers", "diff_ids": differences},
        }
    ).encode()


def write_layer(layer: Path, files: Files) -> None:
    """Write a layer; /tmp is as always, every other directory the administrator's."""
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
            file = source if isinstance(source, File) else File(source)
            entry.mode, entry.uid, entry.gid = file.mode, file.owner, file.owner
            if file.capabilities:
                attribute = file.capabilities.decode("utf-8", "surrogateescape")
                entry.pax_headers = {"SCHILY.xattr.security.capability": attribute}
            _add(tar, entry, file.content)


def _add(tar: tarfile.TarFile, entry: tarfile.TarInfo, content: Path | bytes) -> None:
    if isinstance(content, bytes):
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
        return
    with content.open("rb") as file:
        # A device such as /dev/null has no size.
        entry.size = content.stat().st_size
        tar.addfile(entry, file)


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
