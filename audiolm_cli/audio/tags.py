"""Titles and other text in files: read whatever it is encoded in, and written where libsndfile writes it wrong.

Knows nothing about samples.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

import soundfile

from audiolm_cli.audio.flac import read_flac_comments
from audiolm_cli.audio.headers import read_chunks, read_synchsafe
from audiolm_cli.audio.ogg import read_ogg_comments
from audiolm_cli.audio.trailing import ID3V1_BYTES

INFO = {
    b"INAM": "title",
    b"IART": "artist",
    b"IPRD": "album",
    b"IPRT": "tracknumber",
    b"ITRK": "tracknumber",
    b"ICRD": "date",
    b"IGNR": "genre",
    b"ICMT": "comment",
    b"ICOP": "copyright",
    b"ISFT": "software",
}
"""The tags of a WAV, by their chunks."""
AIFF_TEXTS = {b"NAME": "title", b"AUTH": "artist", b"ANNO": "comment", b"(c) ": "copyright"}
"""The tags of an AIFF, by their chunks."""
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
BPM_COMMENTS = ("BPM", "TBPM", "TEMPO")
"""The comments of FLAC and Ogg that hold a tempo, of which libsndfile reads none."""
DESCRIBED = ("COMM", "COM", "TXXX", "TXX")
"""Frames that say what their text is, before it."""
ENCODINGS = {2: "utf-16-be", 3: "utf-8"}
"""How the text of a frame is encoded; 1 is UTF-16 that says its order, 0 is said to be Latin-1 and is often not."""
OLD_FIELDS = {"title": (3, 33), "artist": (33, 63), "album": (63, 93), "date": (93, 97), "comment": (97, 127)}
"""Where the 128 bytes of an ID3 1 tag hold what."""
APE_ITEMS = {"year": "date", "track": "tracknumber"} | {key: key for key in FRAMES.values()}
"""The tags of APE, whose names may have letters of any size."""
APE_TEXT = 0
"""The kind of an item that holds text, in two bits of its flags."""
APE_FOOTER = struct.Struct("<8sIIII8x")
"""Magic, version, size of the tag without a header, number of items, flags."""
OLD_TAG_BYTES = ID3V1_BYTES + APE_FOOTER.size
"""The end of a file in which "TAG" stands if it ends in an ID3 1 or an APE tag, or both."""
MOST_TAG_BYTES = 1 << 24
"""Tags are looked for in this much."""


def read_tags(stream: BinaryIO, file: soundfile.SoundFile) -> dict[str, str]:
    """The tags of a file, by libsndfile's names, without empty ones.

    Args:
        stream: the file.
        file: the same, open in libsndfile, which reads less of some formats, and knows no encoding but UTF-8.
    """
    tags = _read_strings(file)

    if file.format in ("FLAC", "OGG"):
        comments = read_flac_comments(stream) if file.format == "FLAC" else read_ogg_comments(stream)
        tags["bpm"] = next((comments[name] for name in BPM_COMMENTS if comments.get(name)), "")

    # What is read here is whole; of several kinds of tags in one file, ID3 2 is the one that names its encoding.
    chunked = file.format in ("WAV", "WAVEX", "RF64", "AIFF")
    chunks = read_chunks(stream, MOST_TAG_BYTES, (b"LIST", b"id3 ", b"ID3 ", *AIFF_TEXTS)) if chunked else iter(())
    id3: dict[str, str] = {}
    for name, content in chunks:
        if name == b"LIST":
            tags |= {INFO[key]: text for key, text in _parse_info(content) if key in INFO and text}
        elif name in AIFF_TEXTS:
            tags[AIFF_TEXTS[name]] = decode_text(content.rstrip(b"\0 "))
        else:
            id3 |= parse_id3(content)

    # A FLAC has tags of its own, beside which those around it count for less.
    if file.format in ("MP3", "FLAC"):
        head = _read_at(stream, 0, 10)
        if head[:3] == b"ID3":
            id3 = parse_id3(_read_at(stream, 0, min(MOST_TAG_BYTES, 10 + read_synchsafe(head[6:]))))
        if b"TAG" in _read_at(stream, max(0, stream.seek(0, os.SEEK_END) - OLD_TAG_BYTES), OLD_TAG_BYTES):
            for weaker in (_read_ape(stream), _read_id3v1(stream)):
                id3 = {key: text for key, text in weaker.items() if text} | id3
        if file.format == "FLAC":
            tags, id3 = id3, {key: text for key, text in tags.items() if text}
    return {key: text for key, text in (tags | id3).items() if text}


def decode_text(data: bytes) -> str:
    """Text whose encoding is not stated: UTF-8 where it can be, else the code page of Windows in Western countries."""
    data = data.split(b"\0")[0]
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # What this code page leaves undefined is a control character in Latin-1.
        return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in data)


def make_id3(tags: dict[str, str]) -> bytes:
    """An ID3 2.4 tag, whose text is UTF-8; empty where there are none."""
    frames = b""
    for frame, key in FRAMES.items():
        if text := tags.get(key):
            content = text.encode("utf-8", "replace")
            if frame == "COMM":
                content = b"eng\0" + content
            elif frame == "TXXX":
                content = key.encode() + b"\0" + content
            content = b"\x03" + content
            frames += frame.encode() + _to_synchsafe(len(content)) + bytes(2) + content
    return b"ID3\x04\0\0" + _to_synchsafe(len(frames)) + frames if frames else b""


def parse_id3(data: bytes) -> dict[str, str]:
    """The tags in an ID3 2 tag of any version, as far as it is whole; none where there is no such tag.

    >>> parse_id3(make_id3({"title": "Für Élise", "comment": "x"}))
    {'title': 'Für Élise', 'comment': 'x'}
    """
    if len(data) < 10 or data[:3] != b"ID3" or data[3] not in (2, 3, 4):
        return {}
    version, flags = data[3], data[5]
    body = data[10 : 10 + read_synchsafe(data[6:10])]

    if flags & 0x80 and version < 4:  # so that no decoder takes it for sound
        body = body.replace(b"\xff\0", b"\xff")
    if flags & 0x40 and version > 2 and len(body) >= 4:  # an extended header
        body = body[read_synchsafe(body[:4]) if version == 4 else 4 + int.from_bytes(body[:4], "big") :]

    tags: dict[str, str] = {}
    for name, content in _iter_frames(body, version):
        key = FRAMES.get(name) or OLDER_FRAMES.get(name)
        if key is None or not content:
            continue
        description, text = _decode_frame(content, name)
        is_meant = description.lower() == ("license" if name.startswith("TXX") else "") if name in DESCRIBED else True
        if text and is_meant:
            tags.setdefault(key, text)
    return tags


def _read_strings(file: soundfile.SoundFile) -> dict[str, str]:
    """libsndfile's own tags. soundfile gives them as UTF-8 alone, and loses what is not."""
    tags = {}
    for key, number in soundfile._str_types.items():
        data = soundfile._snd.sf_get_string(file._file, number)
        if data:
            tags[key] = decode_text(soundfile._ffi.string(data))
    return tags


def _parse_info(content: bytes) -> Iterator[tuple[bytes, str]]:
    """The tags in a LIST chunk of a WAV."""
    position = 4
    while content[:4] == b"INFO" and position + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        yield name, decode_text(content[position + 8 : position + 8 + size].rstrip(b"\0"))
        position += 8 + size + size % 2


def _read_id3v1(stream: BinaryIO) -> dict[str, str]:
    """The tags in the last 128 bytes of a file."""
    data = _read_at(stream, max(0, stream.seek(0, os.SEEK_END) - ID3V1_BYTES), ID3V1_BYTES)
    if len(data) < ID3V1_BYTES or data[:3] != b"TAG":
        return {}
    tags = {key: decode_text(data[start:stop]).strip() for key, (start, stop) in OLD_FIELDS.items()}
    if data[125] == 0 and data[126]:
        tags["tracknumber"] = str(data[126])
    return tags


def _read_ape(stream: BinaryIO) -> dict[str, str]:
    """The tags in an APE tag at the end of a file, or in front of an ID3 1 tag there."""
    length = stream.seek(0, os.SEEK_END)
    for end in (length, length - ID3V1_BYTES):
        footer = _read_at(stream, max(0, end - APE_FOOTER.size), APE_FOOTER.size)
        if len(footer) < APE_FOOTER.size or not footer.startswith(b"APETAGEX"):
            continue

        _, _, size, count, _ = APE_FOOTER.unpack(footer)
        size = min(size, MOST_TAG_BYTES, end)
        body, position = _read_at(stream, end - size, max(0, size - APE_FOOTER.size)), 0
        tags: dict[str, str] = {}
        for _ in range(min(count, len(body))):
            if (stop := body.find(b"\0", position + 8)) < 0:
                break
            size, flags = struct.unpack_from("<II", body, position)
            key = APE_ITEMS.get(body[position + 8 : stop].decode("ascii", "replace").lower())
            if key is not None and flags >> 1 & 3 == APE_TEXT:
                texts = body[stop + 1 : stop + 1 + size].split(b"\0")  # of several artists all
                tags[key] = "; ".join(decode_text(text) for text in texts if text)
            position = stop + 1 + size
        return tags
    return {}


def _iter_frames(body: bytes, version: int) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the frames of an ID3 2 tag."""
    id_bytes, head_bytes = (3, 6) if version == 2 else (4, 10)
    position = 0
    while position + head_bytes <= len(body) and re.match(rb"[A-Z0-9]{3}", body[position : position + id_bytes]):
        name = body[position : position + id_bytes].decode("ascii", "replace")
        field = body[position + id_bytes : position + 2 * id_bytes]
        size = read_synchsafe(field) if version == 4 else int.from_bytes(field, "big")
        flags = body[position + 9] if version > 2 else 0
        content = body[position + head_bytes : position + head_bytes + size]
        position += head_bytes + size

        if version == 4:
            packed, unsynchronised, has_length = flags & 0x0C, flags & 0x02, flags & 0x01
        else:
            packed, unsynchronised, has_length = flags & 0xC0, 0, 0
        content = content[4:] if has_length else content
        if not packed:
            yield name, content.replace(b"\xff\0", b"\xff") if unsynchronised else content


def _decode_frame(content: bytes, name: str) -> tuple[str, str]:
    """What a frame's text is, where the frame says so, and the text; of several texts in one frame all."""
    encoding, data = content[0], content[1:]
    if name.startswith("COM"):
        data = data[3:]  # a language
    if encoding == 1:
        parts = _decode_utf16(data)
    elif encoding in ENCODINGS:
        parts = data.decode(ENCODINGS[encoding], "replace").split("\0")
    else:
        parts = [decode_text(part) for part in data.split(b"\0")]

    description = parts.pop(0) if name in DESCRIBED and len(parts) > 1 else ""
    return description, "; ".join(part for part in parts if part)


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


def _read_at(stream: BinaryIO, position: int, size: int) -> bytes:
    stream.seek(position)
    return stream.read(size)


def _to_synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))
