"""What the readers of manifests, of codes and of model folders make of any bytes: for the suite, and for a fuzzer.

The first byte chooses which file of a folder the others become; the rest of the folder is whole.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import shutil
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from audiolm_cli.data.manifest import iter_store, list_cuts, read_facts, write_store
from audiolm_cli.data.parts import INPUTS, Input, Part, Parts, load_inputs, save_inputs
from audiolm_cli.data.tokens import CodecFacts, TokenClip
from audiolm_cli.errors import AudioLMError, DataError
from audiolm_cli.library.loading import load_model

FACTS = CodecFacts(name="tiny", sha256="ab", sample_rate_hz=32_000, hop_samples=640, num_codebooks=2, codebook_size=16)
TENSORS = ("model.safetensors", "codec.safetensors")
LARGEST_CODE = np.iinfo(np.int16).max


class Fuzzed:
    """A reader and a place for its files: call it with any bytes."""

    codes: tuple[int, ...] = (3,)
    """Exit codes of a refusal."""
    seeds: list[bytes]
    """Bytes that are whole files."""

    def __call__(self, data: bytes) -> str:
        """ "read", "refused" in one line with the right exit code, or a fault: what it was and where."""
        read = self._place(data)
        try:
            read()
        except AudioLMError as error:
            text = str(error)
            fine = error.exit_code in self.codes and "\n" not in text and len(text) < 3000
            return "refused" if fine else f"exit code {error.exit_code}: {text:.200}"
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            own = next(
                frame for frame in reversed(frames) if "audiolm_cli" in frame.filename or "tests" in frame.filename
            )
            return f"{type(error).__name__} at {Path(own.filename).name}:{own.lineno}: {error!s:.200}"
        return "read"

    def _place(self, data: bytes) -> Callable[[], object]:
        """Put the bytes where they belong; returns what reads them."""
        raise NotImplementedError


class FuzzedManifest(Fuzzed):
    """Cut manifests, `codec.json` and `inputs.jsonl.gz`."""

    FILES = ("cuts_train.jsonl", "cuts_train.jsonl.gz", "cuts_train.jsonl.gz", "codec.json", INPUTS)

    def __init__(self, place: Path) -> None:
        self.whole = {}
        clips = [("train", TokenClip(id=f"c{n}", codes=np.full((5 + n, 2), n, np.int16), ends=n > 0)) for n in range(2)]
        self.store = place / "store"
        write_store(self.store, FACTS, clips)
        known = Input(path="/x.wav", bytes=1, mtime_ns=2, sha256="ab" * 32, frames=5, clips=(("c0", 0, 5),))
        save_inputs(self.store / INPUTS, {"version": 1}, [known])
        (self.store / "cuts_dev.jsonl.gz").unlink()
        (self.store / "cuts_test.jsonl.gz").unlink()
        self.whole = {path.name: path.read_bytes() for path in self.store.iterdir()}
        lines = gzip.decompress(self.whole["cuts_train.jsonl.gz"])
        foreign = lines.replace(b"audiolm-codes", b"encodec32").replace(b"codes.h5", b"feats/codes.h5")
        self.seeds = [
            b"\0" + lines,
            b"\0" + foreign,
            b"\1" + lines,
            b"\2" + self.whole["cuts_train.jsonl.gz"],
            b"\3" + self.whole["codec.json"],
            b"\4" + gzip.decompress(self.whole[INPUTS]),
        ]

    def _place(self, data: bytes) -> Callable[[], object]:
        kind, content = data[0] % 5 if data else 0, data[1:]
        for name, whole in self.whole.items():
            (self.store / name).write_bytes(whole)
        (self.store / "cuts_train.jsonl").unlink(missing_ok=True)
        if kind < 3:
            (self.store / "cuts_train.jsonl.gz").unlink()
            if data and data[0] & 16:  # as of some other program, which has no such file
                (self.store / "codec.json").unlink()
        squeezed = gzip.compress(content, 1) if kind in (1, 4) else content
        (self.store / self.FILES[kind]).write_bytes(squeezed)
        return (lambda: load_inputs(self.store)) if kind == 4 else self._read

    def _read(self) -> None:
        facts = read_facts(self.store)
        assert 0 < facts.frame_shift_s < 1e6 and 1 <= facts.codebook_size <= LARGEST_CODE + 1
        list_cuts(self.store, facts)
        for clip in iter_store(self.store, "train", facts):
            check_clip(clip.codes, facts)


class FuzzedTokens(Fuzzed):
    """HDF5 and numpy files of codes, and the parts of a store in the making."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.store, self.parts = place / "store", Parts(place / "unfinished", "ab" * 32)
        codes = np.arange(10, dtype=np.int16).reshape(5, 2)
        write_store(self.store, FACTS, [("train", TokenClip(id="c", codes=codes))])
        cut = json.loads(gzip.decompress((self.store / "cuts_train.jsonl.gz").read_bytes()))
        cut["features"].update(storage_type="numpy_files", storage_path="c", storage_key="c.npy")
        (self.store / "c").mkdir()
        (self.store / "cuts_dev.jsonl").write_text(json.dumps(cut))
        (self.store / "cuts_dev.jsonl.gz").unlink()
        self.parts.create()
        self.parts.save("x", Part(codes=codes, spans=np.array([[0, 5]]), frames=5))
        self.file = next(path for path in self.parts.folder.rglob("x.npz"))
        array = io.BytesIO()
        np.save(array, codes)
        spans = io.BytesIO()
        np.save(spans, np.array([[0, 2], [3, 6]]))
        floats = io.BytesIO()
        np.save(floats, codes.astype(np.float64))
        self.seeds = [
            b"\0" + (self.store / "codes.h5").read_bytes(),
            b"\1" + array.getvalue(),
            b"\1" + floats.getvalue(),
            b"\2" + self.file.read_bytes(),
            b"\3" + array.getvalue(),
            b"\4" + spans.getvalue(),
        ]

    def _place(self, data: bytes) -> Callable[[], object]:
        kind, content = data[0] % 5 if data else 0, data[1:]
        if kind == 0:
            (self.store / "codes.h5").unlink()  # not over the old one: HDF5 knows files by their number
            (self.store / "codes.h5").write_bytes(content)
            return lambda: [check_clip(clip.codes, FACTS) for clip in iter_store(self.store, "train", FACTS)]
        if kind == 1:
            (self.store / "c" / "c.npy").write_bytes(content)
            return lambda: [check_clip(clip.codes, FACTS) for clip in iter_store(self.store, "dev", FACTS)]
        if kind > 2:
            arrays = {"codes": np.zeros((5, 2), np.int16), "spans": np.array([[0, 5]]), "frames": np.int64(9)}
            with zipfile.ZipFile(self.file, "w") as archive:
                for name, array in arrays.items():
                    member = io.BytesIO()
                    np.save(member, array)
                    other = name == ("codes" if kind == 3 else "spans")
                    archive.writestr(f"{name}.npy", content if other else member.getvalue())
        else:
            self.file.write_bytes(content)
        return self._read_part

    def _read_part(self) -> None:
        part = self.parts.find("x")
        if part is None:
            raise DataError("not whole")
        for start, codes in part.clips():
            assert start >= 0 and codes.dtype == np.int16 and codes.ndim == 2
        assert sum(len(codes) for _, codes in part.clips()) == len(part.codes)


class FuzzedModel(Fuzzed):
    """`config.json` and tensor files; sizes and hashes are made to agree."""

    codes = (4,)

    def __init__(self, place: Path, model: Path) -> None:
        self.model = shutil.copytree(model, place / "model")
        self.whole = {path.name: path.read_bytes() for path in self.model.iterdir()}
        self.headers = {name: self._header(name) for name in TENSORS}
        self.seeds = [b"\0" + self.whole["config.json"], *(bytes([n + 1]) + self.headers[TENSORS[n]] for n in (0, 1))]
        self.seeds += [b"\3" + self.whole["codec.safetensors"][:6000]]

    def _header(self, name: str) -> bytes:
        data = self.whole[name]
        return data[8 : 8 + int.from_bytes(data[:8], "little")]

    def _place(self, data: bytes) -> Callable[[], object]:
        kind, content = data[0] % 4 if data else 0, data[1:]
        for name, whole in self.whole.items():
            (self.model / name).write_bytes(whole)
        if kind == 0:
            (self.model / "config.json").write_bytes(content)
        else:
            name = TENSORS[(kind - 1) % 2]
            body = self.whole[name][8 + len(self.headers[name]) :]
            made = content if kind == 3 else len(content).to_bytes(8, "little") + content + body
            (self.model / name).write_bytes(made)
            config = json.loads(self.whole["config.json"])
            config["files"][name] = {"bytes": len(made), "sha256": hashlib.sha256(made).hexdigest()}
            (self.model / "config.json").write_text(json.dumps(config))
        return lambda: load_model(str(self.model), torch.device("cpu"))


def check_clip(codes: np.ndarray, facts: CodecFacts) -> None:
    """Whether these are codes that a model can be trained on."""
    assert codes.dtype == np.int16 and codes.ndim == 2 and codes.shape[1] == facts.num_codebooks
    assert not codes.size or (codes.min() >= 0 and codes.max() < facts.codebook_size)


def make(target: str, place: Path, model: Path | None) -> Fuzzed:
    """The fuzzed reader of a name: "manifest", "tokens" or "model", which needs the folder of a small one."""
    if target == "model":
        assert model is not None
        return FuzzedModel(place, model)
    return {"manifest": FuzzedManifest, "tokens": FuzzedTokens}[target](place)


def mutated(fuzzed: Fuzzed, seed: int) -> bytes:
    """One of the seeds of a reader with some bytes, or some numbers and words of its text, changed."""
    rng = random.Random(seed)
    data = bytearray(rng.choice(fuzzed.seeds))
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(1, len(data)) if len(data) > 1 else 0
        kind = rng.choice(("flip", "cut", "noise", "word", "word", "word", "copy"))
        if kind == "flip":
            data[at] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del data[at:]
        elif kind == "noise":
            data[at : at + 4] = rng.randbytes(rng.choice((1, 4, 9)))
        elif kind == "copy":
            data[at:at] = data[at : at + rng.choice((4, 40, 400))]
        else:  # a whole value of JSON, where this is JSON
            stops = [place for place in range(at, min(len(data), at + 60)) if data[place : place + 1] in b",}]"]
            colon = max(data.rfind(b":", 0, at), data.rfind(b"[", 0, at))
            if stops and colon > 0:
                data[colon + 1 : stops[0]] = rng.choice(WORDS)
    return bytes(data)


WORDS = (
    *(b"0", b"-1", b"1e999", b"-1e999", b"NaN", b"1e-320", b"1" + b"0" * 400, b"0.5", b"99999999999", b"true", b"null"),
    *(b"{}", b"[]", b'""', b'"x"', b'"../x"', b'"\\ud800"', b'"/etc/passwd"', b"[" * 3000, b'{"a":' * 3000),
)
