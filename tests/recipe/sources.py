"""The recordings and instruments that a codec for any sound is trained on and judged by: one table, with licences.

Split by source: a package, or the part of one that one player, voice, kit or place made, is wholly for training or
wholly held out. Knows nothing about audio.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = {
    "piano": "grand pianos",
    "upright": "upright pianos",
    "strings": "bowed strings, small and large",
    "orchestra": "orchestra, and celesta with orchestra",
    "wind": "trumpet and other wind",
    "plucked": "guitars, harps, basses",
    "mallet": "vibraphone and other bars, with bass and drums or alone",
    "drums": "drum kits and percussion",
    "band": "bands and songs without a voice",
    "electronic": "electronic music",
    "song": "a voice with a band",
    "speech": "speech",
    "nature": "animals, weather, places, things",
}
"""What there is to hear, in the words of a table."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Recordings of one origin."""

    name: str
    """Of the source, in file names."""
    package: str
    """Debian package that has them."""
    files: str
    """Glob of their paths in the package; what follows a "//" is a glob inside archives (ZIP) that the first finds."""
    kind: str
    """One of KINDS."""
    licence: str
    """As the package's copyright file has it for these files."""
    held_out: bool = False
    """Never trained on."""
    short: bool = False
    """Files of seconds, which are put one after another."""
    most_s: float = 1500.0
    """Of the source, at most this much."""


def _music(package: str, files: str, kind: str, licence: str, *, held_out: bool = False) -> Source:
    """Tracks of one package, which bears the name of the source."""
    name = package.replace(".", "-")  # points part the names of files
    return Source(name=name, package=package, files=files, kind=kind, licence=licence, held_out=held_out)


def _short(
    name: str, package: str, files: str, kind: str, licence: str, *, held_out: bool = False, most_s: float = 600.0
) -> Source:
    """Sounds of seconds, of which there are many."""
    return Source(
        name=name, package=package, files=files, kind=kind, licence=licence, held_out=held_out, short=True,
        most_s=most_s,
    )  # fmt: skip


ASTERISK = "asterisk-core-sounds-{}-g722"
ASTERISK_LICENCE = "CC BY-SA 3.0 (Digium)"
HEDGEWARS_VOICES = "*/Sounds/voices/{}/*.ogg"
ANIMALS = "*/stamps/animals/{}/*[!0-9_].ogg"

SOURCES = (
    # Music as it was released.
    _music("wesnoth-1.16-music", "*/music/*.ogg", "orchestra", "GPL-2+ or CC BY-SA 4.0"),
    _music("megaglest-data", "*/music/*.ogg", "orchestra", "CC BY-SA 3.0"),
    _music("widelands-data", "*/data/music/*.ogg", "orchestra", "GPL-2+"),
    _music("0ad-data", "*/public.zip//audio/music/*.ogg", "orchestra", "CC BY-SA 3.0 (Wildfire Games)"),
    _music("naev-data", "*/music/*.ogg", "orchestra", "CC BY 3.0, CC BY-SA 3.0, CC0 and public domain"),
    _music("colobot-common-sounds", "*/music/*.ogg", "orchestra", "GPL-3+"),
    _music("supertuxkart-data", "*/data/music/*.ogg", "band", "CC BY-SA 3.0 and 4.0, CC BY 3.0, CC0"),
    _music("ufoai-music", "*/0music.pk3//*.ogg", "band", "GPL-2+, CC BY-SA 3.0"),
    _music("hyperrogue-music", "*/music/*.ogg", "band", "CC BY-SA 3.0 and 4.0"),
    _music("planetblupi-music-ogg", "*/music/*.ogg", "band", "GPL-3+"),
    _music("fretsonfire-songs-sectoid", "*/songs/*.ogg", "band", "GPL, MIT"),
    _music("extremetuxracer-data", "*/music/*.ogg", "band", "GPL-2+"),
    _music("supertux-data", "*/music/*.ogg", "band", "GPL-2+ and CC BY-SA"),
    _music("frozen-bubble-data", "*/snd/*.ogg", "band", "GPL-2"),
    _music("pushover-data", "*/themes/*.ogg", "band", "GPL-3+"),
    _music("hedgewars-data", "*/Data/Music/*.ogg", "band", "GPL-2"),
    _music("lincity-ng-data", "*/music/*.ogg", "band", "GPL-2+"),
    _music("zaz-data", "*.ogg", "band", "CC BY-SA 3.0"),
    _music("asc-music", "*/music/*.mp3", "electronic", "GPL-2+"),
    _music("warzone2100-music", "*.opus", "electronic", "GPL-2+, CC0"),
    _music("nexuiz-music", "*/music.pk3//*.ogg", "electronic", "GPL-2"),
    _music("singularity-music", "*/music/*.ogg", "electronic", "CC BY-SA 3.0"),
    _music("freedroidrpg-data", "*/sound/music/*.ogg", "electronic", "GPL-2+"),
    _music("xmoto-data", "*/Musics/*.ogg", "electronic", "GPL-2+"),
    _music("lomiri-sounds", "*/ringtones/*.ogg", "plucked", "CC BY-SA 3.0, CC BY 3.0 and 4.0"),
    _music("unknown-horizons", "*/music/*.ogg", "strings", "CC BY-SA 3.0", held_out=True),
    _music("fretsonfire-songs-muldjord", "*/songs/*.ogg", "band", "CC BY-SA 3.0", held_out=True),
    _music("warmux-data", "*/music/*/*.ogg", "band", "GPL-2+", held_out=True),
    # Percussion.
    _short("sonic-loops", "sonic-pi-samples", "*/loop_*.flac", "drums", "CC0"),
    _short("sonic-sounds", "sonic-pi-samples", "*/[!l]*.flac", "electronic", "CC0"),
    # Voices.
    _short("allison", ASTERISK.format("en"), "*/en_US*.g722", "speech", ASTERISK_LICENCE),
    _short("allison-es", ASTERISK.format("es"), "*/es_MX*.g722", "speech", ASTERISK_LICENCE),
    _short("june", ASTERISK.format("fr"), "*/fr_CA*.g722", "speech", ASTERISK_LICENCE),
    _short("ivrvoice", ASTERISK.format("ru"), "*/ru_RU*.g722", "speech", ASTERISK_LICENCE),
    _short("fillets-cs", "fillets-ng-data-cs", "*/cs/*.ogg", "speech", "GPL-2"),
    _short("fillets-en", "fillets-ng-data", "*/en/*.ogg", "speech", "GPL-2"),
    _short("klettres", "klettres-data", "*/syllab/*.ogg", "speech", "GPL-2+"),
    _short("gcin", "gcin-voice", "*/ogg/*.ogg", "speech", "CC BY 3.0"),
    _short("festvox-ru", "festvox-ru", "*.wav", "speech", "BSD-like (Moscow State University)"),
    _short("hedgewars-british", "hedgewars-data", HEDGEWARS_VOICES.format("British"), "speech", "GPL-2"),
    _short("hedgewars-surfer", "hedgewars-data", HEDGEWARS_VOICES.format("Surfer"), "speech", "GPL-2"),
    _short("hedgewars-russian", "hedgewars-data", HEDGEWARS_VOICES.format("Russian"), "speech", "GPL-2"),
    _short("hedgewars-singer", "hedgewars-data", HEDGEWARS_VOICES.format("Singer"), "speech", "GPL-2", held_out=True),
    _short("napatan", "0ad-data", "*/public.zip//audio/voice/napatan/*.ogg", "speech", "CC BY-SA 3.0"),
    _short("persian", "0ad-data", "*/public.zip//audio/voice/persian/*.ogg", "speech", "CC BY-SA 3.0"),
    _short("tuxpaint-birds-told", "tuxpaint-stamps-default", "*/animals/birds/*_desc*.ogg", "speech", "GPL-2"),
    _short("carlo", ASTERISK.format("it"), "*/it_IT*.g722", "speech", ASTERISK_LICENCE, held_out=True),
    _short("fillets-nl", "fillets-ng-data-nl", "*/nl/*.ogg", "speech", "GPL-2", held_out=True),
    _short("latin", "0ad-data", "*/public.zip//audio/voice/latin/*.ogg", "speech", "CC BY-SA 3.0", held_out=True),
    # Animals, places, things.
    _short("birds", "tuxpaint-stamps-default", ANIMALS.format("birds"), "nature", "GPL-2"),
    _short("insects", "tuxpaint-stamps-default", ANIMALS.format("insects"), "nature", "GPL-2"),
    _short("wesnoth-sounds", "wesnoth-1.16-data", "*/core/sounds/*.ogg", "nature", "GPL-2+ or CC BY-SA 4.0"),
    _short("0ad-places", "0ad-data", "*/public.zip//audio/ambient/*.ogg", "nature", "CC BY-SA 3.0"),
    _short("0ad-work", "0ad-data", "*/public.zip//audio/resource/*.ogg", "nature", "CC BY-SA 3.0", most_s=600),
    _short("megaglest-sounds", "megaglest-data", "*/sounds/*.wav", "nature", "CC BY-SA 3.0"),
    _short("torcs-engines", "torcs-data", "*/sound/*.wav", "nature", "GPL-2+, Free Art Licence"),
    _short("0ad-animals", "0ad-data", "*/public.zip//audio/actor/fauna/*.ogg", "nature", "CC BY-SA 3.0", held_out=True),
    _short("widelands-animals", "widelands-data", "*/sound/animals/*.ogg", "nature", "GPL-2+", held_out=True),
    _short(
        "sea-animals", "tuxpaint-stamps-default", ANIMALS.format("mammals/aquatic"), "nature", "GPL-2", held_out=True
    ),
)
"""Real recordings."""
