"""The fields of `config.json` in a model or codec folder, and the checks that name the one that does not fit.

Knows nothing about files on disk beyond the path it puts into a message.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from audiolm_cli.config.shapes import ModelConfig, SpectralConfig
from audiolm_cli.errors import ModelError

FORMAT_VERSION = 1
FORMATS = {"model": "audiolm-model", "codec": "audiolm-codec"}
FAMILIES = ("spectral", "encodec")
UNKNOWN = "unknown"
"""Family of a codec that was not there when a model was trained on its codes; its name and its frames are known."""

_TYPES: dict[str, type] = {
    "format": str,
    "format_version": int,
    "name": str,
    "audiolm_version": str,
    "codec": dict,
    "training": dict,
    "files": dict,
}
_CODEC_TYPES: dict[str, type] = {"family": str, "name": str, "config": dict}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_SPOKEN = {str: "a text", int: "a whole number", dict: "an object", float: "a number", bool: "true or false"}


def bad_field(config: Path, field: str, problem: str) -> ModelError:
    """The error that names one field of one file."""
    return ModelError(f"{config}: field {field} {problem}")


def check_config(config: Path, values: dict[str, Any]) -> None:
    """Check every field of a configuration in the newest format version.

    Args:
        config: the file, for messages.
        values: what it holds.

    Raises:
        ModelError: a field is missing, unknown, of another type or out of range.
    """
    is_model = values.get("format") == FORMATS["model"]
    types = {**_TYPES, "model": dict} if is_model else _TYPES
    _check_types(config, "", values, types)
    _check_unknown(config, "", values, list(types))
    if not values["name"]:
        raise bad_field(config, "name", "is empty")

    _check_codec(config, values["codec"])
    if is_model:
        _check_settings(config, "model", values["model"], ModelConfig)
    for filename, entry in values["files"].items():
        _check_file(config, filename, entry)

    # A model needs its network, and a codec here or by name; a codec needs its own weights.
    if is_model and "model.safetensors" not in values["files"]:
        raise bad_field(config, "files", "lists no model.safetensors")
    names_codec = is_model and ("sha256" in values["codec"] or values["codec"]["family"] == UNKNOWN)
    if "codec.safetensors" not in values["files"] and not names_codec:
        remedy = "; without it, field codec.sha256 must identify a catalogued codec" if is_model else ""
        raise bad_field(config, "files", f"lists no codec.safetensors{remedy}")


def _check_codec(config: Path, codec: dict[str, Any]) -> None:
    """Check the fields of the codec, and its settings where this program knows them."""
    _check_types(config, "codec.", codec, _CODEC_TYPES)
    _check_unknown(config, "codec.", codec, [*_CODEC_TYPES, "sha256"])

    if codec["family"] not in (*FAMILIES, UNKNOWN):
        raise bad_field(config, "codec.family", f"is {codec['family']!r}, expected {' or '.join(FAMILIES)}")
    if "sha256" in codec:
        _check_sha256(config, "codec.sha256", codec["sha256"])
    if codec["family"] == "spectral":
        _check_settings(config, "codec.config", codec["config"], SpectralConfig)


def _check_file(config: Path, filename: str, entry: object) -> None:
    """Check what is said about one file, whose name must not lead out of the folder."""
    field = f"files.{filename:.80}"
    if not _FILENAME.fullmatch(filename):
        raise bad_field(config, field, "is not the plain name of a .safetensors file")
    if not isinstance(entry, dict):
        raise bad_field(config, field, "is not an object with bytes and sha256")

    _check_types(config, f"{field}.", entry, {"bytes": int, "sha256": str})
    _check_unknown(config, f"{field}.", entry, ["bytes", "sha256"])
    if entry["bytes"] < 0:
        raise bad_field(config, f"{field}.bytes", f"is {entry['bytes']}, expected 0 or more")
    _check_sha256(config, f"{field}.sha256", entry["sha256"])


def _check_settings(
    config: Path, section: str, values: dict[str, Any], settings: type[ModelConfig] | type[SpectralConfig]
) -> None:
    """Check `values` against the fields of a configuration class: names, types (those of the defaults) and ranges."""
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    _check_unknown(config, f"{section}.", values, list(defaults))

    # A field that is missing has its default.
    present: dict[str, type] = {
        name: type(defaults[name]) for name in values if type(defaults[name]) in (str, int, float, bool)
    }
    _check_types(config, f"{section}.", values, present)

    try:
        settings.from_dict(values)
    except (ModelError, ArithmeticError) as error:
        raise bad_field(config, section, f"does not fit: {error}") from error


def _check_types(config: Path, prefix: str, values: dict[str, Any], types: dict[str, type]) -> None:
    """Check that all fields of `types` are there, each with a value of its type."""
    for name, expected in types.items():
        if name not in values:
            raise bad_field(config, f"{prefix}{name}", "is missing")

        # type(), not isinstance(): True is no number here.
        accepted = (int, float) if expected is float else (expected,)
        if type(values[name]) not in accepted:
            raise bad_field(config, f"{prefix}{name}", f"is {values[name]!r:.80}, expected {_SPOKEN[expected]}")


def _check_unknown(config: Path, prefix: str, values: dict[str, Any], known: list[str]) -> None:
    """Refuse the first field, by name, that is none of `known`."""
    for name in sorted(set(values) - set(known)):
        remedy = f"known: {', '.join(known)}. A newer audiolm may have written it"
        raise bad_field(config, f"{prefix}{name:.80}", f"is unknown; {remedy}")


def _check_sha256(config: Path, field: str, value: object) -> None:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise bad_field(config, field, f"is {value!r:.80}, expected 64 hex digits")
