"""Files whose contents were checked once: a stamp beside them says so, and saves hashing them at every use.

A stamp holds as long as the file keeps its size and its time. It saves time and guards against accidents, not against
attackers: whoever can change the file can change the stamp. Where no stamp can be written, every use hashes the file.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from audiolm_cli.checkpoints.notes import read_note
from audiolm_cli.errors import ModelError
from audiolm_cli.files import hash_file


def verify_hash(path: Path, size: int | None, sha256: str, *, rehash: bool = False) -> str:
    """The hash of a file, all 64 digits, once it is known to be what was expected.

    Args:
        path: the file.
        size: bytes it must have; None when unknown.
        sha256: leading digits its hash must have; where fewer than 64 are known, the first hash found is remembered
            and must stay.
        rehash: hash it even if a stamp holds.

    Raises:
        ModelError: it is missing, of another size, or has other contents.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if size is not None and status.st_size != size:
        raise ModelError(f"{path} has {status.st_size} bytes, expected {size}")

    stamp = read_note(_stamp_of(path))
    before = str(stamp.get("sha256", ""))
    holds = (stamp.get("bytes"), stamp.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
    if holds and not rehash and len(before) == 64 and before.startswith(sha256):
        return before

    try:
        digest = hash_file(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error

    if not digest.startswith(sha256):
        raise ModelError(f"{path} is damaged: its sha256 is {digest}, expected {sha256}")
    if len(sha256) < 64 and before.startswith(sha256) and len(before) == 64 and digest != before:
        raise ModelError(f"{path} has changed: its sha256 is {digest}, and was {before} when it came")

    # A stamp that is torn by a crash cannot be read, and counts as none.
    with suppress(OSError):
        content = {"sha256": digest, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        _stamp_of(path).write_text(json.dumps(content) + "\n")
    return digest


def _stamp_of(path: Path) -> Path:
    """Where the stamp of a file lies."""
    return path.with_name(f".{path.name}.checked.json")
