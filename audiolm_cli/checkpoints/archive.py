"""Model and codec folders as one zip file, to hand around. Knows nothing about networks or names on the command line.

An archive from elsewhere is hostile: nothing in it decides where something is written, or how much.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from audiolm_cli.checkpoints.folder import CARD, CONFIG, MAX_CONFIG_BYTES, read_description
from audiolm_cli.errors import ModelError
from audiolm_cli.guessing import guess_path

MAX_CARD_BYTES = 1 << 20
MOST_MEMBERS = 1000
"""Files in an archive; a model has a handful."""
MOST_SHRUNK = 50
"""Weights become somewhat smaller in an archive; what becomes smaller than a fiftieth was made to fill a disk."""
FREE_BYTES = 1 << 20
"""So much may come of any file, however small it is in the archive."""
_MADE = (1980, 1, 1, 0, 0, 0)
"""The time of all files in an archive, so that the same folder gives the same bytes."""
_BLOCK_BYTES = 1 << 20


def pack(stream: BinaryIO, name: str, files: Mapping[str, bytes | Path]) -> None:
    """Write files into an archive, in a folder of its own.

    Args:
        stream: where it goes.
        name: of the folder.
        files: by their names in it, what they hold or where they are.

    Raises:
        OSError: a file cannot be read.
    """
    with zipfile.ZipFile(stream, "w") as archive:
        for filename, content in files.items():
            member = zipfile.ZipInfo(f"{name}/{filename}", _MADE)
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            if isinstance(content, bytes):
                member.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(member, content)
                continue

            member.file_size = content.stat().st_size  # decides which form of header it needs
            with content.open("rb") as source, archive.open(member, "w") as target:
                shutil.copyfileobj(source, target, _BLOCK_BYTES)


def unpack(path: Path, folder: Path) -> None:
    """Write the model or codec folder that an archive holds into `folder`; what else is in it is left there.

    Raises:
        ModelError: it is no archive, is damaged, or holds anything but one such folder.
        OSError: the folder cannot be written.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}{guess_path(path)}") from error
    try:
        with stream, zipfile.ZipFile(stream) as archive:
            members = _find_members(path, archive)
            _copy(path, archive, members[CONFIG], folder / CONFIG, MAX_CONFIG_BYTES)
            try:
                described = read_description(folder)
            except ModelError as error:
                raise ModelError(f"{path} holds no model of audiolm: {error}") from error

            for filename, entry in described.files.items():
                if filename not in members:
                    raise ModelError(f"{path} holds no {filename}, which its {CONFIG} lists; pack the whole folder")
                _copy(path, archive, members[filename], folder / filename, entry.bytes)
            if CARD in members:
                _copy(path, archive, members[CARD], folder / CARD, MAX_CARD_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is no zip file, or damaged ({error}); get it again") from error


def _find_members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files beside the one `config.json` of an archive, by their names.

    Raises:
        ModelError: there is none or there are several, or the archive holds what no model has.
    """
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise ModelError(f"{path} holds {len(infos)} files, and a model has a handful")

    found: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in infos:
        _check_member(path, info)
        if info.is_dir():
            continue
        place = PurePosixPath(info.filename)
        if place in found:
            raise ModelError(f"{path} holds two files {info.filename!r}")
        found[place] = info

    configs = [place for place in found if place.name == CONFIG and len(place.parts) <= 2]
    if len(configs) != 1:
        what = f"{len(configs)} of them" if configs else "none"
        raise ModelError(
            f"{path}: expected one {CONFIG}, at the top or in a folder, found {what}; pack one model folder"
        )
    return {place.name: info for place, info in found.items() if place.parent == configs[0].parent}


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    """Refuse a member whose name leads out of a folder, that is no plain file, or that is far larger than it looks.

    Raises:
        ModelError: it is one.
    """
    name = info.filename
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or "\\" in name or ":" in name:
        raise ModelError(f"{path} holds a file {name!r:.80}, which would lie outside of its folder; it is not unpacked")

    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "no plain file"
        raise ModelError(f"{path}: {name!r:.80} in it is {what}; it is not unpacked")
    if info.flag_bits & 1:
        raise ModelError(f"{path} is encrypted; unpack it yourself, and pull the folder")
    if info.file_size > FREE_BYTES + MOST_SHRUNK * info.compress_size:
        raise ModelError(
            f"{path}: {name!r:.80} would become {info.file_size} bytes of {info.compress_size}; not unpacked"
        )


def _copy(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, most: int) -> None:
    """Write a member to a file.

    Raises:
        ModelError: it holds more than `most` bytes, whatever its header says.
    """
    with archive.open(info) as source, target.open("wb") as file:
        count = 0
        while block := source.read(_BLOCK_BYTES):
            count += len(block)
            if count > most:
                raise ModelError(f"{path}: {info.filename} is larger than the {most} bytes that it may have")
            file.write(block)
