"""ID3 2 tags: the text in them, and the tags made anew around every frame that somebody else has put there.

Knows nothing about where in a file a tag lies.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from audiolm_cli.audio.headers import read_synchsafe

FRAMES = {
    "TIT2": "title",
    "TPE1": "artist",
    "TALB": "album",
    "TRCK": "tracknumber",
    "TDRC": "date",
    "TCON": "genre",
    "COMM": "comment",
    "TCOP": "copyright",
    "TXXX": "license",
    "TSSE": "software",
    "TBPM": "bpm",
}
"""The tags of ID3 2.4, by their frames."""
OLDER_FRAMES = {
    "TYER": "date",
    "TT2": "title",
    "TP1": "artist",
    "TAL": "album",
    "TRK": "tracknumber",
    "TYE": "date",
    "TCO": "genre",
    "COM": "comment",
    "TCR": "copyright",
    "TXX": "license",
    "TSS": "software",
    "TBP": "bpm",
}
"""Those of ID3 2.2 and 2.3 that have other names."""
FIELDS = {
    "TPE2": "ALBUMARTIST",
    "TPE3": "CONDUCTOR",
    "TPE4": "REMIXER",
    "TCOM": "COMPOSER",
    "TEXT": "LYRICIST",
    "TPOS": "DISCNUMBER",
    "TSRC": "ISRC",
    "TKEY": "INITIALKEY",
    "TPUB": "LABEL",
    "TLAN": "LANGUAGE",
    "TMOO": "MOOD",
    "TIT1": "GROUPING",
    "TIT3": "SUBTITLE",
    "TMED": "MEDIA",
    "TCMP": "COMPILATION",
    "TBPM": "BPM",
    "TSOP": "ARTISTSORT",
    "TSOA": "ALBUMSORT",
    "TSOT": "TITLESORT",
    "TSO2": "ALBUMARTISTSORT",
    "TENC": "ENCODED-BY",
}
"""Other frames of text, and what FLAC and Ogg call the same."""
DESCRIBED = ("COMM", "COM", "TXXX", "TXX")
"""Frames that say what their text is, before it."""
ENCODINGS = {2: "utf-16-be", 3: "utf-8"}
"""How the text of a frame is encoded; 1 is UTF-16 that says its order, 0 is said to be Latin-1 and is often not."""
PICTURE, OLDER_PICTURE = "APIC", "PIC"
OLDER_KINDS = {b"JPG": "image/jpeg", b"PNG": "image/png"}
"""What the frame of a picture in ID3 2.2 has in place of a MIME type."""
OF_THE_FILE = ("TLEN", "MLLT", "ASPI", "SEEK")
"""Frames that say how long the sound is, or where in the file."""
TIMED = ("SYLT", "ETCO", "POSS", "SYTC")
"""Frames that name moments in the sound."""
GAPLESS = ("iTunSMPB",)
"""What the text of a comment counts the samples of a file in."""
CHAPTER = struct.Struct(">IIII")
"""A chapter: its begin and its end in milliseconds, and the same in bytes."""


class Frame(NamedTuple):
    """A frame of a tag, as it is stored."""

    name: str
    """Four letters; three in ID3 2.2."""
    flags: bytes
    """Two bytes; none in ID3 2.2."""
    content: bytes
    """What stands in it, as the flags say."""


class Picture(NamedTuple):
    """A picture, as FLAC, Ogg and ID3 describe it."""

    kind: int
    """3 is the front of a cover."""
    mime: str
    """As "image/png"."""
    description: str
    """What it shows."""
    data: bytes
    """The file."""


def decode_text(data: bytes) -> str:
    """Text whose encoding is not stated: UTF-8 where it can be, else the code page of Windows in Western countries."""
    data = data.split(b"\0")[0]
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # What this code page leaves undefined is a control character in Latin-1.
        return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in data)


def split_id3(data: bytes) -> tuple[int, list[Frame]]:
    """The version (2, 3 or 4) of an ID3 2 tag and its frames, as far as it is whole; (4, []) where there is no tag.

    >>> split_id3(make_id3({"title": "A"}))
    (4, [Frame(name='TIT2', flags=b'\\x00\\x00', content=b'\\x03A')])
    """
    if len(data) < 10 or data[:3] != b"ID3" or data[3] not in (2, 3, 4):
        return 4, []
    version, flags = data[3], data[5]
    body = data[10 : 10 + read_synchsafe(data[6:10])]

    if flags & 0x80 and version < 4:  # so that no decoder takes it for sound
        body = body.replace(b"\xff\0", b"\xff")
    if flags & 0x40 and version > 2 and len(body) >= 4:  # an extended header
        body = body[read_synchsafe(body[:4]) if version == 4 else 4 + int.from_bytes(body[:4], "big") :]
    return version, list(_iter_frames(body, version))


def join_id3(version: int, frames: list[Frame]) -> bytes:
    """The tag of a version that has these frames; empty where there are none."""
    if not frames:
        return b""

    body = b""
    for name, flags, content in frames:
        size = len(content)
        field = _to_synchsafe(size) if version == 4 else size.to_bytes(3 if version == 2 else 4, "big")
        body += name.encode("latin-1") + field + flags + content
    return b"ID3" + bytes([version, 0, 0]) + _to_synchsafe(len(body)) + body


def make_id3(tags: dict[str, str]) -> bytes:
    """An ID3 2.4 tag, whose text is UTF-8; empty where there are none."""
    frames = [_text_frame(frame, key, tags[key]) for frame, key in FRAMES.items() if tags.get(key)]
    return join_id3(4, frames)


def merge_id3(original: bytes, tags: dict[str, str]) -> bytes:
    """A tag with these texts, and with all frames of an older one that say something else.

    Args:
        original: the older tag; empty is none.
        tags: texts by libsndfile's names. A frame that says the same stays as it is, where it says how it is encoded.
    """
    version, frames = split_id3(original)
    said = parse_id3(original)
    wanted = {key: text for key, text in tags.items() if text}
    kept: list[Frame] = []
    for frame in frames:
        key = _known_key(frame, version)
        if key is not None and key in wanted and (said.get(key) != wanted[key] or _is_misread(frame)):
            continue
        if key is not None:
            wanted.pop(key, None)
        kept.append(frame)

    made = [_text_frame(frame, key, wanted[key]) for frame, key in FRAMES.items() if key in wanted]
    if version < 4:
        made = [_older_frame(frame, version) for frame in made]
    return join_id3(version, [*made, *kept])


def make_frames(fields: list[tuple[str, str]], pictures: list[Picture]) -> bytes:
    """An ID3 2.4 tag with texts by the names that FLAC and Ogg have for them, and with pictures."""
    names = {field: name for name, field in FIELDS.items()}
    frames = []
    for field, text in fields:
        content = text.encode("utf-8", "replace")
        if field not in names:
            content = field.encode("utf-8", "replace") + b"\0" + content
        frames.append(Frame(names.get(field, "TXXX"), bytes(2), b"\x03" + content))
    for kind, mime, description, data in pictures:
        head = mime.encode("latin-1", "replace") + b"\0" + bytes([kind & 0xFF])
        frames.append(Frame(PICTURE, bytes(2), b"\x03" + head + description.encode("utf-8", "replace") + b"\0" + data))
    return join_id3(4, frames)


def parse_id3(data: bytes) -> dict[str, str]:
    """The tags in an ID3 2 tag of any version, as far as it is whole; none where there is no such tag.

    >>> parse_id3(make_id3({"title": "Für Élise", "comment": "x"}))
    {'title': 'Für Élise', 'comment': 'x'}
    """
    version, frames = split_id3(data)
    tags: dict[str, str] = {}
    for frame in frames:
        key = _known_key(frame, version)
        if key is not None and (text := _decode_frame(_plain(frame, version), frame.name)[1]):
            tags.setdefault(key, text)
    return tags


def read_fields(data: bytes) -> list[tuple[str, str]]:
    """Other texts in a tag, by the names that FLAC and Ogg have for them."""
    version, frames = split_id3(data)
    fields = []
    for frame in frames:
        content = _plain(frame, version)
        if not content or (_known_key(frame, version) is not None and frame.name not in FIELDS):
            continue
        description, text = _decode_frame(content, frame.name)
        name = FIELDS.get(frame.name) or (description.upper() if frame.name.startswith("TXX") else "")
        if name and text and "=" not in name:
            fields.append((name, text))
    return fields


def read_pictures(data: bytes) -> list[Picture]:
    """The pictures in a tag."""
    version, frames = split_id3(data)
    found = []
    for frame in frames:
        content = _plain(frame, version)
        if frame.name == PICTURE and b"\0" in content[1:]:
            mime, _, rest = content[1:].partition(b"\0")
            kind, rest = rest[:1], rest[1:]
        elif frame.name == OLDER_PICTURE and len(content) > 5:
            mime, kind, rest = OLDER_KINDS.get(content[1:4], "image/jpeg").encode(), content[4:5], content[5:]
        else:
            continue

        wide = content[0] in (1, 2)
        end = rest.find(b"\0\0" if wide else b"\0")
        while wide and end % 2 == 1:
            end = rest.find(b"\0\0", end + 1)
        if end < 0 or not kind:
            continue
        description = "; ".join(_decode_parts(content[0], rest[:end]))
        found.append(Picture(kind[0], mime.decode("latin-1"), description, rest[end + (2 if wide else 1) :]))
    return found


def other_frames(data: bytes) -> list[str]:
    """The names of what has no name in other formats."""
    version, frames = split_id3(data)
    named = {"TXXX", "TXX", PICTURE, OLDER_PICTURE, *FIELDS, *OF_THE_FILE}
    found = []
    for frame in frames:
        if frame.name not in named and _known_key(frame, version) is None and not counts_samples(frame, version):
            found.append(frame.name)
    return sorted(set(found))


def counts_samples(frame: Frame, version: int) -> bool:
    """Whether a frame of a tag of this version is a comment that counts the samples of its file."""
    return frame.name in DESCRIBED and _describe(frame, version) in GAPLESS


def list_timed_frames(data: bytes) -> list[str]:
    """The names of the frames of a tag that name moments in the sound, other than chapters."""
    return sorted({frame.name for frame in split_id3(data)[1]} & set(TIMED))


def _known_key(frame: Frame, version: int) -> str | None:
    """Which of the tags that libsndfile knows a frame is."""
    key = FRAMES.get(frame.name) or OLDER_FRAMES.get(frame.name)
    if key is None or not _plain(frame, version):
        return None
    description = _describe(frame, version).lower()
    is_meant = description == ("license" if frame.name.startswith("TXX") else "") if frame.name in DESCRIBED else True
    return key if is_meant else None


def _describe(frame: Frame, version: int) -> str:
    """What a frame says that its text is, if it does."""
    content = _plain(frame, version)
    return _decode_frame(content, frame.name)[0] if content else ""


def _is_misread(frame: Frame) -> bool:
    """Whether other programs read another text than `_decode_frame`, as of one that is not encoded as it says."""
    return frame.content[:1] == b"\0" and decode_text(frame.content[1:]) != frame.content[1:].decode("latin-1").rstrip(
        "\0"
    )


def _text_frame(name: str, key: str, text: str) -> Frame:
    """A frame of ID3 2.4."""
    content = text.encode("utf-8", "replace")
    if name == "COMM":
        content = b"eng\0" + content
    elif name == "TXXX":
        content = key.encode() + b"\0" + content
    return Frame(name, bytes(2), b"\x03" + content)


def _older_frame(frame: Frame, version: int) -> Frame:
    """A frame that `_text_frame` made, as an older version has it, which knows no UTF-8 but UTF-16."""
    newer = {key: name for name, key in FRAMES.items()}
    older = {newer[key]: name for name, key in OLDER_FRAMES.items() if len(name) == (3 if version == 2 else 4)}
    name = older.get(frame.name, frame.name)
    content, head = frame.content[1:], b""
    if frame.name == "COMM":
        head, content = content[:3], content[3:]
    parts = [b"\xff\xfe" + part.decode("utf-8").encode("utf-16-le") for part in content.split(b"\0")]
    return Frame(name, b"" if version == 2 else bytes(2), b"\x01" + head + b"\0\0".join(parts))


def _iter_frames(body: bytes, version: int) -> Iterator[Frame]:
    """The frames of an ID3 2 tag."""
    id_bytes, head_bytes = (3, 6) if version == 2 else (4, 10)
    position = 0
    while position + head_bytes <= len(body) and re.match(rb"[A-Z0-9]{3}", body[position : position + id_bytes]):
        name = body[position : position + id_bytes].decode("latin-1")
        field = body[position + id_bytes : position + 2 * id_bytes]
        size = read_synchsafe(field) if version == 4 else int.from_bytes(field, "big")
        flags = body[position + 8 : position + head_bytes] if version > 2 else b""
        yield Frame(name, flags, body[position + head_bytes : position + head_bytes + size])
        position += head_bytes + size


def _plain(frame: Frame, version: int) -> bytes:
    """What stands in a frame without what its flags say of it; empty where it is packed."""
    content, flags = frame.content, frame.flags[1] if version > 2 else 0
    if version == 4:
        packed, unsynchronised, has_length = flags & 0x0C, flags & 0x02, flags & 0x01
    else:
        packed, unsynchronised, has_length = flags & 0xC0, 0, 0
    content = content[4:] if has_length else content
    if packed:
        return b""
    return content.replace(b"\xff\0", b"\xff") if unsynchronised else content


def _decode_frame(content: bytes, name: str) -> tuple[str, str]:
    """What a frame's text is, where the frame says so, and the text; of several texts in one frame all."""
    encoding, data = content[0], content[1:]
    if name.startswith("COM"):
        data = data[3:]  # a language
    parts = _decode_parts(encoding, data)
    description = parts.pop(0) if name in DESCRIBED and len(parts) > 1 else ""
    return description, "; ".join(part for part in parts if part)


def _decode_parts(encoding: int, data: bytes) -> list[str]:
    """The texts in a frame, of which zeros stand between them."""
    if encoding == 1:
        return _decode_utf16(data)
    if encoding in ENCODINGS:
        return data.decode(ENCODINGS[encoding], "replace").split("\0")
    return [decode_text(part) for part in data.split(b"\0")]


def _decode_utf16(data: bytes) -> list[str]:
    """The parts of a text of which each begins with a mark that says which byte of a character is first."""
    parts, order = [], "utf-16-le"
    units = [data[at : at + 2] for at in range(0, len(data) - 1, 2)]
    part: list[bytes] = []
    for unit in [*units, b"\0\0"]:
        if unit in (b"\xff\xfe", b"\xfe\xff") and not part:
            order = "utf-16-le" if unit == b"\xff\xfe" else "utf-16-be"
        elif unit == b"\0\0":
            parts.append(b"".join(part).decode(order, "replace"))
            part = []
        else:
            part.append(unit)
    return parts


def _to_synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))
