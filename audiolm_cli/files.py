"""Files written whole, and their hashes. Knows nothing about what is in them."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path

_READ_BYTES = 1 << 20


def hash_file(path: Path) -> str:
    """The sha256 of a file's contents, as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`; what was there is moved aside for the moment between two renames."""
    aside = path.parent / f".{path.name}.{secrets.token_hex(4)}.replaced"
    try:
        if path.exists():
            path.rename(aside)
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
        elif aside.exists():
            aside.rename(path)


def write_synced(path: Path, text: str) -> None:
    """Write a text file, and wait until it is on the disk."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
