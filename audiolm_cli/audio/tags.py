"""Titles and other text in files, read whatever it is encoded in.

Knows nothing about samples.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

import soundfile

from audiolm_cli.audio.chunks import ID3_CHUNKS
from audiolm_cli.audio.flac import read_flac_comments
from audiolm_cli.audio.headers import read_at, read_chunks, read_synchsafe
from audiolm_cli.audio.id3 import FRAMES, decode_text, parse_id3
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
BPM_COMMENTS = ("BPM", "TBPM", "TEMPO")
"""The comments of FLAC and Ogg that hold a tempo, of which libsndfile reads none."""
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
    chunks = read_chunks(stream, MOST_TAG_BYTES, (b"LIST", *ID3_CHUNKS, *AIFF_TEXTS)) if chunked else iter(())
    id3: dict[str, str] = {}
    for name, content in chunks:
        if name == b"LIST":
            tags |= {INFO[key]: text for key, text, _ in iter_info(content) if key in INFO and text}
        elif name in AIFF_TEXTS:
            tags[AIFF_TEXTS[name]] = decode_text(content.rstrip(b"\0 "))
        else:
            id3 |= parse_id3(content)

    # A FLAC has tags of its own, beside which those around it count for less.
    if file.format in ("MP3", "FLAC"):
        head = read_at(stream, 0, 10)
        if head[:3] == b"ID3":
            id3 = parse_id3(read_at(stream, 0, min(MOST_TAG_BYTES, 10 + read_synchsafe(head[6:]))))
        if b"TAG" in read_at(stream, max(0, stream.seek(0, os.SEEK_END) - OLD_TAG_BYTES), OLD_TAG_BYTES):
            for weaker in (_read_ape(stream), _read_id3v1(stream)):
                id3 = {key: text for key, text in weaker.items() if text} | id3
        if file.format == "FLAC":
            tags, id3 = id3, {key: text for key, text in tags.items() if text}
    return {key: text for key, text in (tags | id3).items() if text}


def iter_info(content: bytes) -> Iterator[tuple[bytes, str, bytes]]:
    """The entries in a LIST chunk of a WAV: name, text, and the whole of it as it is stored."""
    position = 4
    while content[:4] == b"INFO" and position + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        text = content[position + 8 : position + 8 + size]
        yield name, decode_text(text.rstrip(b"\0")), content[position : position + 8] + text + bytes(size % 2)
        position += 8 + size + size % 2


def list_ape_texts(stream: BinaryIO) -> list[str]:
    """The names of the texts and pictures in an APE tag that `read_tags` does not read."""
    return [name for name, _, _ in _iter_ape(stream) if name.lower() not in APE_ITEMS]


def _read_strings(file: soundfile.SoundFile) -> dict[str, str]:
    """libsndfile's own tags. soundfile gives them as UTF-8 alone, and loses what is not."""
    tags = {}
    for key, number in soundfile._str_types.items():
        data = soundfile._snd.sf_get_string(file._file, number)
        if data:
            tags[key] = decode_text(soundfile._ffi.string(data))
    return tags


def _read_id3v1(stream: BinaryIO) -> dict[str, str]:
    """The tags in the last 128 bytes of a file."""
    data = read_at(stream, max(0, stream.seek(0, os.SEEK_END) - ID3V1_BYTES), ID3V1_BYTES)
    if len(data) < ID3V1_BYTES or data[:3] != b"TAG":
        return {}
    tags = {key: decode_text(data[start:stop]).strip() for key, (start, stop) in OLD_FIELDS.items()}
    if data[125] == 0 and data[126]:
        tags["tracknumber"] = str(data[126])
    return tags


def _read_ape(stream: BinaryIO) -> dict[str, str]:
    """The tags in an APE tag."""
    tags: dict[str, str] = {}
    for name, kind, content in _iter_ape(stream):
        key = APE_ITEMS.get(name.lower())
        if key is not None and kind == APE_TEXT:
            texts = content.split(b"\0")  # of several artists all
            tags[key] = "; ".join(decode_text(text) for text in texts if text)
    return tags


def _iter_ape(stream: BinaryIO) -> Iterator[tuple[str, int, bytes]]:
    """Name, kind and content of the items in an APE tag at the end of a file, or in front of an ID3 1 tag there."""
    length = stream.seek(0, os.SEEK_END)
    for end in (length, length - ID3V1_BYTES):
        footer = read_at(stream, max(0, end - APE_FOOTER.size), APE_FOOTER.size)
        if len(footer) < APE_FOOTER.size or not footer.startswith(b"APETAGEX"):
            continue

        _, _, size, count, _ = APE_FOOTER.unpack(footer)
        size = min(size, MOST_TAG_BYTES, end)
        body, position = read_at(stream, end - size, max(0, size - APE_FOOTER.size)), 0
        for _ in range(min(count, len(body))):
            if (stop := body.find(b"\0", position + 8)) < 0:
                break
            size, flags = struct.unpack_from("<II", body, position)
            yield body[position + 8 : stop].decode("ascii", "replace"), flags >> 1 & 3, body[stop + 1 : stop + 1 + size]
            position = stop + 1 + size
        return
