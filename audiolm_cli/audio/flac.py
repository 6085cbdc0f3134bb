"""The comments of a FLAC file, read and written without touching its samples. Knows nothing about what they say."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from audiolm_cli.audio.headers import replace_bytes

COMMENTS = 4
"""The kind of the metadata block that holds text."""
MOST_BLOCKS = 10_000
"""A header with more blocks than this is not searched further."""


def read_flac_comments(stream: BinaryIO) -> dict[str, str]:
    """The comments of a FLAC file, by their names in capitals; of several with one name the first."""
    comments: dict[str, str] = {}
    for kind, start, size in _iter_blocks(stream):
        if kind == COMMENTS:
            stream.seek(start)
            comments = name_comments(stream.read(size)) | comments
    return comments


def name_comments(content: bytes) -> dict[str, str]:
    """The comments in a block of them, as FLAC, Vorbis and Opus have it, by their names in capitals."""
    comments: dict[str, str] = {}
    for comment in _split_comments(content)[1]:
        name, _, text = comment.partition(b"=")
        comments.setdefault(name.decode("ascii", "replace").upper(), text.decode("utf-8", "replace"))
    return comments


def write_flac_comment(stream: BinaryIO, name: str, text: str) -> None:
    """Add a comment to a FLAC file."""
    blocks = list(_iter_blocks(stream))
    found = next(((start, size) for kind, start, size in blocks if kind == COMMENTS), None)
    if found is not None:
        start, stop = found[0] - 4, found[0] + found[1]
        stream.seek(start)
        head = stream.read(4)[0]
        program, comments = _split_comments(stream.read(found[1]))
    else:  # a new block behind the first, which must not say that it is the last any more
        _, first, size = blocks[0]
        start = stop = first + size
        stream.seek(first - 4)
        head = stream.read(1)[0]
        replace_bytes(stream, first - 4, first - 3, bytes([head & 0x7F]))
        head, program, comments = COMMENTS | head & 0x80, b"", []

    comments.append(f"{name}={text}".encode())
    content = _with_size(program) + struct.pack("<I", len(comments)) + b"".join(map(_with_size, comments))
    replace_bytes(stream, start, stop, bytes([head]) + struct.pack(">I", len(content))[1:] + content)


def _with_size(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


def _iter_blocks(stream: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """(kind, where its content starts, size of its content) of the metadata blocks of a FLAC file."""
    stream.seek(0)
    position, last = 4, stream.read(4) != b"fLaC"
    for _ in range(MOST_BLOCKS):
        stream.seek(position)
        head = b"" if last else stream.read(4)
        if len(head) < 4:
            return
        size = int.from_bytes(head[1:], "big")
        yield head[0] & 0x7F, position + 4, size
        position, last = position + 4 + size, bool(head[0] & 0x80)


def _split_comments(content: bytes) -> tuple[bytes, list[bytes]]:
    """The program that wrote a block of comments, and these; those that are whole, of a damaged block."""
    texts: list[bytes] = []
    position, count = 0, 1
    while len(texts) < count and position + 4 <= len(content):
        (size,) = struct.unpack_from("<I", content, position)
        text = content[position + 4 : position + 4 + size]
        position += 4 + size
        if len(text) < size:
            break
        if not texts:  # the program, and then how many comments there are
            count += int.from_bytes(content[position : position + 4], "little")
            position += 4
        texts.append(text)
    return (texts[0], texts[1:]) if texts else (b"", [])
