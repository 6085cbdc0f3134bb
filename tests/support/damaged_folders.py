"""Model folders damaged in every way a seed can draw, and what loading one does: for the suite, and by the thousand.

Three kinds of damage: bytes of a file that changed, which its hash shows; a `config.json` that was made up; and tensor
files that were made up, with sizes and hashes in `config.json` that agree.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from audiolm_cli.checkpoints.folder import FolderFacts, load_tensors, read_folder, write_folder
from audiolm_cli.codec.encodec import EncodecCodec
from audiolm_cli.codec.encodec_shape import EncodecConfig
from audiolm_cli.errors import AudioLMError
from audiolm_cli.library.loading import load_model

FILES = ("model.safetensors", "codec.safetensors")
ODD = (
    *(None, True, False, 0, -1, 1, 2, 3, 7, 1 << 16, 1 << 20, 1 << 31, 1 << 40, 1 << 63, 10**400, -(10**30)),
    *(0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "2", "\0", "../x", "/etc/passwd", "\ud800", "é" * 300),
    *([], [[]], {}, {"a": {}}, [1, 2, 3]),
)


@dataclass(frozen=True)
class Result:
    """What became of loading a damaged folder."""

    damage: str
    outcome: str
    """"refused" with exit code 4, "loaded", or what else happened, which is a fault."""
    largest: int
    """Bytes of the largest tensor that was allocated."""
    allowed: int
    """Four times the size of the folder's files."""
    seconds: float
    """Of computing, whatever else the machine did."""

    @property
    def fault(self) -> bool:
        """Whether it was anything but a clean refusal, or the loading of a made-up model that is whole."""
        slow, greedy = self.seconds > 10, self.largest > self.allowed
        must = self.damage.startswith(ALWAYS_REFUSED)
        return slow or greedy or self.outcome not in (("refused",) if must else ("refused", "loaded"))


class _Largest(TorchDispatchMode):
    """The largest tensor that an operation made in memory."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                opaque = tensor.is_mkldnn  # weights that were packed for the processor
                size = tensor.numel() * tensor.element_size() if opaque else tensor.untyped_storage().nbytes()
                self.largest = max(self.largest, size)
        return made


def make_models(folder: Path, spectral: Path) -> list[Path]:
    """Whole model folders to damage: the one at `spectral`, and one that carries a small EnCodec."""
    codec = EncodecCodec.untrained(EncodecConfig(name="small", num_filters=4, dimension=8, codebook_size=32))
    origin = read_folder(spectral)
    path = write_folder(
        folder / "encodec",
        FolderFacts(
            kind="model",
            name="encodec",
            model=origin.model,
            codec={"family": "encodec", "name": "small", "config": codec.config.to_dict()},
            training={"licence": "none: a test"},
        ),
        tensors={FILES[0]: load_tensors(origin, FILES[0]), FILES[1]: codec.state()},
        texts={},
    ).path
    return [spectral, path]


def damage_and_load(model: Path, seed: int, folder: Path) -> Result:
    """Copy `model` to `folder`, damage the copy, load it."""
    rng = random.Random(seed)
    shutil.copytree(model, folder)
    size = sum((folder / name).stat().st_size for name in FILES)
    what = rng.choice(DAMAGES)
    detail = what(rng, folder)
    watch, started = _Largest(), time.process_time()
    try:
        with watch:
            load_model(str(folder), torch.device("cpu"))
        outcome = "loaded"
    except AudioLMError as error:
        text = str(error)
        outcome = (
            "refused" if error.exit_code == 4 and "\n" not in text and len(text) < 2000 else f"exit {error.exit_code}"
        )
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"[:200]
    seconds = time.process_time() - started
    return Result(f"{what.__name__[1:]}: {detail}", outcome, watch.largest, 4 * size, seconds)


def _bytes_of_a_file(rng: random.Random, folder: Path) -> str:
    path = folder / rng.choice(FILES)
    data = bytearray(path.read_bytes())
    kind = rng.choice(("flip", "cut", "zeros", "insert", "empty", "gone", "folder", "noise"))
    at = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(len(data), 4000))
    if kind == "flip":
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "zeros":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
        data[at] ^= 1
    elif kind == "insert":
        data[at:at] = rng.randbytes(rng.randint(1, 100))
    elif kind == "noise":
        data[:] = rng.randbytes(len(data))
    elif kind == "empty":
        data.clear()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind != "gone":
        path.write_bytes(data)
    return f"{kind} at {at} of {path.name}"


def _bytes_of_the_config(rng: random.Random, folder: Path) -> str:
    path = folder / "config.json"
    data = bytearray(path.read_bytes())
    kind = rng.choice(("cut", "noise", "deep", "huge", "list", "gone", "twice", "utf-16"))
    at = rng.randrange(1, len(data) - 2)
    contents = {
        "cut": bytes(data[:at]),
        "noise": rng.randbytes(500),
        "deep": b"[" * 100_000,
        "huge": b'{"a":"' + b"x" * (1 << 21) + b'"}',
        "list": b"[1]",
        "twice": bytes(data) * 2,
        "utf-16": data.decode().encode("utf-16"),
    }
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(contents[kind])
    return kind


def _a_value_of_the_config(rng: random.Random, folder: Path) -> str:
    """Any value becomes an odd one, goes, or gets company."""
    config = json.loads((folder / "config.json").read_text())
    places: list[tuple[Any, Any, str]] = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key in value:
                places.append((value, key, f"{path}.{key}"))
                walk(value[key], f"{path}.{key}")

    walk(config, "")
    told = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        parent, key, name = rng.choice(places)
        kind = rng.choice(("odd", "odd", "odd", "gone", "more"))
        if kind == "gone":
            parent.pop(key, None)
            told.append(f"{name} gone")
        elif kind == "more":
            parent[rng.choice(("x", "", "../x", "a" * 5000))] = rng.choice(ODD)
            told.append(f"company for {name}")
        else:
            parent[key] = rng.choice(ODD)
            told.append(f"{name} = {str(parent[key])[:20]!r}")
    (folder / "config.json").write_text(json.dumps(config))
    return ", ".join(told)


def _a_made_up_header(rng: random.Random, folder: Path) -> str:
    """Names, types, shapes and offsets of a tensor file that are not those of its bytes; hashes agree."""
    path = folder / rng.choice(FILES)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    names = [name for name in header if name != "__metadata__"]
    told = []
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(names)
        kind = rng.choice(("dtype", "shape", "dimension", "offsets", "gone", "more", "odd", "renamed", "metadata"))
        told.append(f"{kind} of {name}")
        entry = header.get(name)
        if not isinstance(entry, dict):
            continue
        if kind == "dtype":
            entry["dtype"] = rng.choice(("F64", "F32", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "X", None, 3))
        elif kind == "shape":
            entry["shape"] = rng.choice(([], [1 << 40], [-1], [1 << 63], [0, 1 << 62], [1.5], ["x"], None, [[1]]))
        elif kind == "dimension" and entry.get("shape"):
            entry["shape"] = [*entry["shape"][1:], rng.choice((0, 1, 1 << 20, 1 << 50))]
        elif kind == "offsets":
            entry["data_offsets"] = rng.choice(([0, 1 << 60], [5, 1], [-1, 5], [0], None, [0, len(body) + 1], "x"))
        elif kind == "gone":
            header.pop(name)
        elif kind == "more":
            header.update({f"x{number}": entry for number in range(rng.choice((1, 11_000)))})
        elif kind == "odd":
            header[name] = rng.choice(ODD)
        elif kind == "renamed":
            header[f"{name}x"] = header.pop(name)
        else:
            header["__metadata__"] = rng.choice(ODD)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    claimed = rng.choice((len(text), len(text), len(text), len(text) + 1, 0, 1 << 60, (1 << 64) - 1))
    path.write_bytes(claimed.to_bytes(8, "little") + text + body)
    _agree(folder)
    return ", ".join(told) + f", header of {claimed}"


def _a_made_up_body(rng: random.Random, folder: Path) -> str:
    """Other numbers: not finite, or noise; hashes agree."""
    path = folder / rng.choice(FILES)
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    kind = rng.choice(("ones", "noise", "cut", "more"))
    at = rng.randrange(start, len(data)) // 4 * 4
    if kind == "ones":
        data[at:] = b"\xff" * len(data[at:])
    elif kind == "noise":
        data[at:] = rng.randbytes(len(data[at:]))
    elif kind == "cut":
        del data[at:]
    else:
        data += bytes(rng.randint(1, 100))
    path.write_bytes(data)
    _agree(folder)
    return f"{kind} from {at} of {path.name}"


def _a_made_up_shape(rng: random.Random, folder: Path) -> str:
    """Sizes in the configuration that its tensors do not have, however large."""
    config = json.loads((folder / "config.json").read_text())
    sections: list[dict[str, Any]] = [config["model"], config["codec"]["config"]]
    section = rng.choice(sections)
    names = [name for name, value in section.items() if type(value) in (int, float)]
    told = []
    for name in rng.sample(names, rng.choice((1, 1, 2, 3))):
        value = section[name]
        section[name] = type(value)(rng.choice((value * 2, value * 1000, 1 << 30, 1 << 36, 0, -value, value + 1)))
        told.append(f"{name} = {section[name]}")
    (folder / "config.json").write_text(json.dumps(config))
    return ", ".join(told)


def _agree(folder: Path) -> None:
    """Make sizes and hashes in the configuration those of the files."""
    config = json.loads((folder / "config.json").read_text())
    for name in FILES:
        data = (folder / name).read_bytes()
        config["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "config.json").write_text(json.dumps(config))


DAMAGES: tuple[Callable[[random.Random, Path], str], ...] = (
    _bytes_of_a_file,
    _bytes_of_the_config,
    _a_value_of_the_config,
    _a_made_up_header,
    _a_made_up_body,
    _a_made_up_shape,
)
ALWAYS_REFUSED = ("bytes_of_a_file", "bytes_of_the_config")
"""Damage after which nothing may load; made-up folders may be whole, if odd, models."""
