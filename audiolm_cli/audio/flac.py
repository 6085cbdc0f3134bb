"""The comments, pictures and other blocks of a FLAC file, read and written without touching its samples.

Knows nothing about what the comments say.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from audiolm_cli.audio.chunks import MOST_BYTES, Chunk
from audiolm_cli.audio.headers import replace_bytes
from audiolm_cli.audio.id3 import Picture

COMMENTS, CUE_SHEET, PICTURE = 4, 5, 6
"""The kinds of the metadata blocks that hold text, the tracks of a disc, and a picture."""
OWN_BLOCKS = (0, 1, 3, COMMENTS)
"""Blocks that are made anew for every file: what describes its samples, room, a table of places in it, and text."""
APPLICATION, FOREIGN = 2, (b"riff", b"aiff", b"w64 ")
"""The kind of a block that belongs to a program, and those that hold the head of the file that a FLAC was made from."""
LONGEST_BLOCK = (1 << 24) - 1
"""Bytes that a block can hold."""
CHANNEL_MASK = "WAVEFORMATEXTENSIBLE_CHANNEL_MASK"
"""The comment of a FLAC file that says which loudspeakers its channels are for."""
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
    for comment in split_comments(content)[1]:
        name, _, text = comment.partition(b"=")
        comments.setdefault(name.decode("ascii", "replace").upper(), text.decode("utf-8", "replace"))
    return comments


def read_flac_blocks(stream: BinaryIO) -> tuple[tuple[Chunk, ...], tuple[bytes, ...], tuple[str, ...]]:
    """Metadata blocks that are not made anew for every file, the comments, and what of the file is not kept."""
    found: list[Chunk] = []
    comments: list[bytes] = []
    left_out: list[str] = []
    room = MOST_BYTES
    for kind, start, size in _iter_blocks(stream):
        stream.seek(start)
        content = stream.read(size) if size <= room else b""
        if len(content) < size:
            break
        if kind == COMMENTS:
            comments += split_comments(content)[1]
        elif kind == APPLICATION and content[:4] in FOREIGN:
            left_out.append(f"{content[:4].decode().strip().upper()} header")
        elif kind not in OWN_BLOCKS:
            room -= size
            found.append(Chunk(bytes([kind]), content))
    return tuple(found), tuple(comments), tuple(dict.fromkeys(left_out))


def put_flac_blocks(stream: BinaryIO, blocks: list[Chunk], comments: list[bytes]) -> None:
    """Put metadata blocks into a FLAC file that has been written, and comments beside its own."""
    written = list(_iter_blocks(stream))
    contents = []
    program: bytes = b""
    for kind, start, size in written:
        stream.seek(start)
        content = stream.read(size)
        if kind == COMMENTS:
            program, own = split_comments(content)
            comments = merge_comments(own, comments)
        else:
            contents.append((kind, content))

    contents[1:1] = [
        (COMMENTS, join_comments(program, comments)),
        *((block.name[0], block.content) for block in blocks),
    ]
    heads = b""
    for number, (kind, content) in enumerate(contents, start=1):
        last = 0x80 if number == len(contents) else 0
        heads += bytes([kind | last]) + struct.pack(">I", len(content))[1:] + content
    _, start, size = written[-1]
    replace_bytes(stream, 4, start + size, heads)


def merge_comments(own: list[bytes], others: list[bytes]) -> list[bytes]:
    """The comments of a recording, and behind them those of a file made from it.

    Of one name, the recording's count, with all that it has of that name, but for what the file alone knows.
    """
    anew = {_name_of(comment) for comment in own} & {b"COMMENT"} | {CHANNEL_MASK.encode()}
    kept = [comment for comment in others if _name_of(comment) not in anew and _is_comment(comment)]
    names = {_name_of(comment) for comment in kept}
    return [*kept, *(comment for comment in own if _name_of(comment) not in names)]


def join_comments(program: bytes, comments: list[bytes]) -> bytes:
    """A block of comments, as FLAC, Vorbis and Opus have it."""
    return _with_size(program) + struct.pack("<I", len(comments)) + b"".join(map(_with_size, comments))


def pack_picture(picture: Picture) -> bytes:
    """A picture as it stands in a block of a FLAC, with its size unknown."""
    mime, description = picture.mime.encode("ascii", "replace"), picture.description.encode("utf-8", "replace")
    head = struct.pack(">II", picture.kind, len(mime)) + mime + struct.pack(">I", len(description)) + description
    return head + struct.pack(">IIIII", 0, 0, 0, 0, len(picture.data)) + picture.data


def unpack_picture(content: bytes) -> Picture | None:
    """A picture from a block of a FLAC; None where it is damaged."""
    try:
        kind, size = struct.unpack_from(">II", content)
        mime, position = content[8 : 8 + size], 8 + size
        (size,) = struct.unpack_from(">I", content, position)
        description, position = content[position + 4 : position + 4 + size], position + 4 + size + 16
        (size,) = struct.unpack_from(">I", content, position)
    except struct.error:
        return None
    data = content[position + 4 : position + 4 + size]
    return Picture(kind, mime.decode("ascii", "replace"), description.decode("utf-8", "replace"), data)


def write_flac_comment(stream: BinaryIO, name: str, text: str) -> None:
    """Add a comment to a FLAC file."""
    blocks = list(_iter_blocks(stream))
    found = next(((start, size) for kind, start, size in blocks if kind == COMMENTS), None)
    if found is not None:
        start, stop = found[0] - 4, found[0] + found[1]
        stream.seek(start)
        head = stream.read(4)[0]
        program, comments = split_comments(stream.read(found[1]))
    else:  # a new block behind the first, which must not say that it is the last any more
        _, first, size = blocks[0]
        start = stop = first + size
        stream.seek(first - 4)
        head = stream.read(1)[0]
        replace_bytes(stream, first - 4, first - 3, bytes([head & 0x7F]))
        head, program, comments = COMMENTS | head & 0x80, b"", []

    comments.append(f"{name}={text}".encode())
    content = join_comments(program, comments)
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


def split_comments(content: bytes) -> tuple[bytes, list[bytes]]:
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


def _name_of(comment: bytes) -> bytes:
    return comment.partition(b"=")[0].upper()


def _is_comment(comment: bytes) -> bool:
    """Whether it is one as the formats have it: a name and text in UTF-8."""
    try:
        return "=" in comment.decode("utf-8")
    except UnicodeDecodeError:
        return False
