"""Which loudspeaker each channel is for: what the headers of formats say about it, and how it is written there.

Formats have orders of their own: WAV and FLAC go by the mask, Ogg has the centre second, Core Audio names each channel.
A recording keeps the order of its file; only writing moves channels. Knows nothing about samples.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from audiolm_cli.audio.flac import CHANNEL_MASK, read_flac_comments, write_flac_comment
from audiolm_cli.audio.headers import append_aiff_chunk, find_chunk, overwrite, replace_bytes

SPEAKERS = (
    "L",
    "R",
    "C",
    "LFE",
    "Rls",
    "Rrs",
    "Lc",
    "Rc",
    "Cs",
    "Ls",
    "Rs",
    "Ts",
    "Vhl",
    "Vhc",
    "Vhr",
    "Tbl",
    "Tbc",
    "Tbr",
)
"""The bits of a mask, from the lowest, by the names that Core Audio has for them."""
DEFAULTS = {1: 0x4, 2: 0x3, 3: 0x7, 4: 0x33, 5: 0x37, 6: 0x3F, 7: 0x70F, 8: 0x63F}
"""The masks that Ogg means by a number of channels alone."""
FLAC_DEFAULTS = DEFAULTS | {5: 0x607, 6: 0x60F}
"""Those that FLAC means."""
OGG_ORDERS = {3: "L C R", 4: "L R Rls Rrs", 5: "L C R Rls Rrs", 6: "L C R Rls Rrs LFE"}
OGG_ORDERS |= {7: "L C R Ls Rs Cs LFE", 8: "L C R Ls Rs Rls Rrs LFE"}
TWINS = {"Ls": "Rls", "Rs": "Rrs", "Rls": "Ls", "Rrs": "Rs"}
"""Surrounds that stand in for each other where there is one pair of them."""

PCM_GUID = bytes.fromhex("000000001000800000aa00389b71")
AMBISONIC_GUID = bytes.fromhex("00002107d3118644c8c1ca000000")
"""The ends of the GUIDs that tell a WAV's channels for loudspeakers from those of a sound field."""

BITMAP, DESCRIPTIONS, DISCRETE = 1 << 16, 0, 147
UNKNOWN_LABEL = 2**32 - 1
CORE_AUDIO = {
    (100, 1): "C",
    (101, 2): "L R",
    (102, 2): "L R",
    (106, 2): "L R",
    (108, 4): "L R Rls Rrs",
    (109, 5): "L R Rls Rrs C",
    (110, 6): "L R Rls Rrs C Cs",
    (111, 8): "L R Rls Rrs C Cs Ls Rs",
    (113, 3): "L R C",
    (114, 3): "C L R",
    (115, 4): "L R C Cs",
    (116, 4): "C L R Cs",
    (117, 5): "L R C Ls Rs",
    (118, 5): "L R Ls Rs C",
    (119, 5): "L C R Ls Rs",
    (120, 5): "C L R Ls Rs",
    (121, 6): "L R C LFE Ls Rs",
    (122, 6): "L R Ls Rs C LFE",
    (123, 6): "L C R Ls Rs LFE",
    (124, 6): "C L R Ls Rs LFE",
    (125, 7): "L R C LFE Ls Rs Cs",
    (126, 8): "L R C LFE Ls Rs Lc Rc",
    (127, 8): "C Lc Rc L R Ls Rs LFE",
    (128, 8): "L R C LFE Rls Rrs Ls Rs",  # on paper the sides come first; ffmpeg, which writes most of these, differs
    (129, 8): "L R Ls Rs C LFE Lc Rc",
    (131, 3): "L R Cs",
    (132, 4): "L R Ls Rs",
    (133, 3): "L R LFE",
    (134, 4): "L R LFE Cs",
    (135, 5): "L R LFE Ls Rs",
    (136, 4): "L R C LFE",
    (137, 5): "L R C LFE Cs",
    (138, 5): "L R Ls Rs LFE",
    (139, 6): "L R Ls Rs C Cs",
    (140, 7): "L R Ls Rs C Rls Rrs",
    (141, 6): "C L R Ls Rs Cs",
    (142, 7): "C L R Ls Rs Cs LFE",
    (143, 7): "C L R Ls Rs Rls Rrs",
    (144, 8): "C L R Ls Rs Rls Rrs Cs",
    (148, 7): "L R Ls Rs C Lc Rc",
    (149, 2): "C LFE",
    (150, 3): "L C R",
    (151, 4): "L C R Cs",
    (152, 4): "L C R LFE",
    (153, 4): "L R Cs LFE",
    (154, 5): "L C R Cs LFE",
    (183, 3): "C L R",
    (184, 4): "L R Rls Rrs",
    (185, 5): "L R C Rls Rrs",
    (186, 6): "L R C LFE Rls Rrs",
    (187, 7): "L R C LFE Cs Ls Rs",
    (188, 8): "L R C LFE Rls Rrs Ls Rs",
}
"""Core Audio's layout tags: number of the layout, and its channels in order."""
REAR_LABELS = {33: "Rls", 34: "Rrs"}
SIDE_LABELS = {5: "Ls", 6: "Rs"}
"""Labels of Core Audio that are not the number of a bit and one; where there is a rear pair, 5 and 6 are the sides."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which loudspeaker each channel of a file is for."""

    mask: int
    """The loudspeakers, as in `dwChannelMask` of a WAV; 0: none in particular, as with stems."""
    order: tuple[int, ...] = ()
    """For each channel, its place among the mask's; empty where they come in the mask's order."""
    chan: bytes = b""
    """The content of the file's "chan" chunk, where it has one; it may say more than a mask can."""
    ambisonic: bool = False
    """Whether the channels are those of a sound field, which a WAV says beside the mask."""


def read_layout(stream: BinaryIO, format: str, subtype: str, channels: int) -> Layout | None:
    """What a file says about its loudspeakers; None where it says nothing, or nothing but mono or stereo by number.

    Args:
        stream: the open file.
        format: its container, in libsndfile's names.
        subtype: its encoding, in libsndfile's names.
        channels: how many there are.
    """
    if format in ("WAV", "WAVEX", "RF64", "W64"):
        return _read_extensible(stream)

    if format in ("CAF", "AIFF"):
        chunk = _read_chunk(stream, b"chan" if format == "CAF" else b"CHAN", 12 + 20 * channels)
        return _parse_chan(chunk, channels) if len(chunk) >= 12 else None

    if format == "FLAC":
        stated = read_flac_comments(stream).get(CHANNEL_MASK, "")
        if (mask := _parse_number(stated)) is not None:
            return Layout(mask=mask)
        return Layout(mask=FLAC_DEFAULTS[channels]) if channels > 2 else None

    if format == "OGG" and channels in OGG_ORDERS:
        if subtype == "OPUS" and _read_opus_family(stream) != 1:
            return Layout(mask=0)
        return _from_speakers(OGG_ORDERS[channels].split())
    return None


def needs_extensible(layout: Layout | None, channels: int) -> bool:
    """Whether a WAV has to have a mask to say what this layout says."""
    if layout is None:
        return False
    return layout.ambisonic or (layout.mask != DEFAULTS[channels] if channels <= 2 else True)


def file_order(layout: Layout | None, format: str, channels: int) -> list[int]:
    """For each channel of a file of this format, which channel of the recording belongs there."""
    if layout is not None and layout.chan and format in ("CAF", "AIFF"):  # the chunk is written as it was
        return list(range(channels))

    by_mask = sorted(range(channels), key=lambda channel: layout.order[channel] if layout and layout.order else channel)
    if format != "OGG" or channels not in OGG_ORDERS:
        return by_mask

    # To each place of Ogg's goes its own loudspeaker, else its twin, else what is left.
    stated = _list_speakers(layout.mask) if layout else []
    speakers = stated if len(stated) == channels else _list_speakers(DEFAULTS[channels])
    left = dict(zip(speakers, by_mask, strict=True))
    places: dict[str, int] = {}
    slots = OGG_ORDERS[channels].split()
    for wanted in ({slot: slot for slot in slots}, TWINS):
        for slot in slots:
            if slot not in places and wanted.get(slot) in left:
                places[slot] = left.pop(wanted[slot])
    for slot, speaker in zip([slot for slot in slots if slot not in places], list(left), strict=True):
        places[slot] = left[speaker]
    return [places[slot] for slot in slots]


def describe_lost(layout: Layout | None, format: str, subtype: str, channels: int) -> str:
    """What a file in this format will be taken for instead, in words; empty where it says the same."""
    mute = format == "AU" or (format == "W64" and not subtype.startswith("PCM"))
    if layout is None or not (mute or format in ("OGG", "MP3")):
        return ""

    implied = 0 if mute and channels > 2 else DEFAULTS.get(channels, 0)
    if layout.mask == implied or (layout.mask == 0 and channels <= 2):
        return ""
    stated, taken = (" ".join(_list_speakers(mask)) or "none in particular" for mask in (layout.mask, implied))
    return f"the loudspeakers of its channels are {stated}, and {format} takes them for {taken}"


def write_layout(stream: BinaryIO, layout: Layout | None, format: str, subtype: str, channels: int) -> None:
    """Say in a file that libsndfile has written which loudspeakers its channels are for, where the format can.

    Args:
        stream: the open file.
        layout: None says nothing.
        format: its container, in libsndfile's names.
        subtype: its encoding, in libsndfile's names.
        channels: how many there are, in the order of `file_order`.
    """
    if format in ("WAVEX", "RF64"):
        fmt = find_chunk(stream, b"fmt ")
        if layout is not None and fmt is not None:
            overwrite(stream, fmt + 20, struct.pack("<I", layout.mask))
            if layout.ambisonic:
                overwrite(stream, fmt + 26, AMBISONIC_GUID)
        elif channels > 2 and fmt is not None:  # libsndfile makes one up
            overwrite(stream, fmt + 20, bytes(4))
    elif layout is None:
        return

    elif format == "W64" and subtype.startswith("PCM") and needs_extensible(layout, channels):
        # Only integers: libsndfile, and what is built on it, takes floats with a mask for integers.
        _extend_w64(stream, layout)
    elif format == "FLAC" and layout.mask != FLAC_DEFAULTS[channels]:
        write_flac_comment(stream, CHANNEL_MASK, f"0x{layout.mask:X}")
    elif format in ("CAF", "AIFF") and (layout.chan or needs_extensible(layout, channels)):
        _append_chan(stream, layout.chan or _make_chan(layout, channels), format)


def _list_speakers(mask: int) -> list[str]:
    return [name for bit, name in enumerate(SPEAKERS) if mask >> bit & 1]


def _from_speakers(speakers: list[str], chan: bytes = b"") -> Layout:
    """The layout of channels for these loudspeakers, each another one."""
    bits = [SPEAKERS.index(name) for name in speakers]
    order = tuple(sorted(bits).index(bit) for bit in bits)
    return Layout(mask=sum(1 << bit for bit in bits), order=order if list(order) != sorted(order) else (), chan=chan)


def _parse_number(text: str) -> int | None:
    """A mask as FLAC files state it."""
    try:
        mask = int(text, 0)
    except ValueError:
        return None
    return mask if 0 <= mask < 2**32 else None


def _read_chunk(stream: BinaryIO, name: bytes, most: int) -> bytes:
    """The content of a chunk, up to `most` bytes; empty where there is none."""
    start = find_chunk(stream, name)
    if start is None:
        return b""
    stream.seek(start)
    return stream.read(most)


def _read_extensible(stream: BinaryIO) -> Layout | None:
    """The layout of a WAV, RF64 or W64 file that has a WAVE_FORMAT_EXTENSIBLE header."""
    stream.seek(0)
    order = ">" if stream.read(4) == b"RIFX" else "<"
    fmt = _read_chunk(stream, b"fmt ", 40)
    if len(fmt) < 40:
        return None
    (tag,), (size, _, mask) = struct.unpack_from(f"{order}H", fmt), struct.unpack_from(f"{order}HHI", fmt, 16)
    mended = size == 22 and fmt[:2] == fmt[24:26] and fmt[26:] in (PCM_GUID, AMBISONIC_GUID)  # see `find_mends`
    if tag != 0xFFFE and not mended:
        return None

    return Layout(mask=mask, ambisonic=fmt[26:40] == AMBISONIC_GUID)


def _read_opus_family(stream: BinaryIO) -> int:
    """The channel mapping family of an Ogg Opus file: 1 has Ogg's order."""
    stream.seek(0)
    head = stream.read(512)
    start = head.find(b"OpusHead")
    return head[start + 18] if 0 <= start < len(head) - 18 else 1


def _parse_chan(chunk: bytes, channels: int) -> Layout:
    """The layout that Core Audio's chunk describes; with a mask of 0 where a mask cannot say it."""
    tag, bitmap, count = struct.unpack_from(">III", chunk)
    chunk = chunk[: 12 + 20 * count]
    if tag == BITMAP and bitmap.bit_count() == channels:
        return Layout(mask=bitmap, chan=chunk)

    speakers = CORE_AUDIO.get((tag >> 16, tag & 0xFFFF), "").split()
    if tag == DESCRIPTIONS and len(chunk) == 12 + 20 * channels:
        labels = [struct.unpack_from(">I", chunk, 12 + 20 * number)[0] for number in range(channels)]
        sides = SIDE_LABELS if any(label in REAR_LABELS for label in labels) else {}
        names = {bit: name for bit, name in enumerate(SPEAKERS, start=1)} | REAR_LABELS | sides | {42: "C"}
        while labels and labels[-1] == UNKNOWN_LABEL:  # as with a mask, the last channels may be for none
            labels.pop()
        speakers = [names[label] for label in labels if label in names]
        channels = len(labels)

    if len(speakers) == channels == len(set(speakers)):
        return _from_speakers(speakers, chunk)
    return Layout(mask=0, chan=chunk)


def _make_chan(layout: Layout, channels: int) -> bytes:
    """Core Audio's chunk for channels in the order of a mask."""
    stated = _list_speakers(layout.mask)
    if len(stated) == channels:
        return struct.pack(">III", BITMAP, layout.mask, 0)
    if not 0 < len(stated) < channels:
        return struct.pack(">III", DISCRETE << 16 | channels, 0, 0)

    labels = [SPEAKERS.index(name) + 1 for name in stated] + [UNKNOWN_LABEL] * (channels - len(stated))
    return struct.pack(">III", DESCRIPTIONS, 0, channels) + b"".join(struct.pack(">I16x", label) for label in labels)


def _append_chan(stream: BinaryIO, chunk: bytes, format: str) -> None:
    """Add Core Audio's chunk behind the samples of a CAF or AIFF file."""
    if format == "AIFF":
        append_aiff_chunk(stream, b"CHAN", chunk)
        return

    stream.seek(0, os.SEEK_END)
    stream.write(b"chan" + struct.pack(">Q", len(chunk)) + chunk)


def _extend_w64(stream: BinaryIO, layout: Layout) -> None:
    """Replace the "fmt " chunk of a W64 file by one that holds a mask."""
    start = find_chunk(stream, b"fmt ")
    if start is None:
        return

    stream.seek(start - 8)
    (size,) = struct.unpack("<Q", stream.read(8))
    form = stream.read(16)  # the encoding, and after it, last, the bits of a sample
    extended = struct.pack("<H", 0xFFFE) + form[2:] + struct.pack("<H2sI", 22, form[14:], layout.mask)
    extended += form[:2] + (AMBISONIC_GUID if layout.ambisonic else PCM_GUID)

    size += -size % 8
    replace_bytes(stream, start - 8, start - 24 + size, struct.pack("<Q", 24 + len(extended)) + extended)
    total = stream.seek(0, os.SEEK_END)
    overwrite(stream, 16, struct.pack("<Q", total))
