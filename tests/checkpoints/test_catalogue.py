"""Names on the command line: what they mean, and what is said when they mean nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import pytest
import torch

from audiolm_cli.checkpoints import catalogue, stamps
from audiolm_cli.checkpoints.catalogue import (
    KNOWN_CODECS,
    KnownCodec,
    cache_dir,
    find_checkpoint,
    known_hash,
    list_models,
    resolve,
    resolve_model,
)
from audiolm_cli.checkpoints.folder import FolderFacts, write_folder
from audiolm_cli.codec.encodec_shape import PUBLISHED
from audiolm_cli.config.shapes import SpectralConfig
from audiolm_cli.errors import ModelError
from audiolm_cli.files import hash_file

DATA = b"weights of a codec"


def make(path: Path, name: str) -> Path:
    """A codec folder at `path`."""
    codec = {"family": "spectral", "name": name, "config": SpectralConfig().to_dict()}
    tensors = {"codec.safetensors": {"a": torch.zeros(3)}}
    write_folder(
        path,
        FolderFacts(kind="codec", name=name, model=None, codec=codec, training={"licence": "CC0"}),
        tensors=tensors,
        texts={},
    )
    return path


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose assets hold one folder, `piano`."""
    assets = tmp_path / "package" / "assets"
    make(assets / "piano", "piano")
    (assets / "notes").mkdir()
    monkeypatch.setattr(catalogue.resources, "files", lambda package: assets.parent)
    return assets / "piano"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> KnownCodec:
    """A known codec small enough to write."""
    codec = KnownCodec(
        name="small-codec",
        family="encodec",
        filename="w.safetensors",
        url="https://example.org/abc/w.safetensors",
        bytes=len(DATA),
        sha256=hashlib.sha256(DATA).hexdigest(),
        licence="none",
    )
    monkeypatch.setitem(KNOWN_CODECS, codec.name, codec)
    return codec


def test_bundled_before_cached_before_nothing(bundled: Path, cache: Path) -> None:
    """A name is looked up in the package, then in the cache."""
    assert resolve("piano", cache).path == bundled
    make(cache / "piano", "impostor")
    mine = make(cache / "mine", "mine")
    assert resolve("piano", cache).path == bundled
    assert resolve("mine", cache).path == mine
    with pytest.raises(ModelError, match=r"'pianno'\. Did you mean piano\? Models: none \(codecs: .*mine, piano\)"):
        resolve("pianno", cache)


def test_paths_before_names(bundled: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder here is a path when it is a model; one with other contents does not hide the name."""
    work = tmp_path / "work"
    (work / "piano").mkdir(parents=True)
    monkeypatch.chdir(work)
    assert resolve("piano", cache).path == bundled
    here = make(work / "mine", "mine")
    assert resolve("mine", cache).path.resolve() == here
    assert resolve("./mine", cache).name == "mine"
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        resolve("./piano", cache)
    with pytest.raises(ModelError, match="is not a folder"):
        resolve("runs/mine", cache)
    (work / "empty").mkdir()
    with pytest.raises(ModelError, match=r"empty is no model folder"):
        resolve("empty", cache)


def test_a_codec_alone_is_no_model(cache: Path) -> None:
    """The name of a codec says so, which models there are, and how a codec is chosen."""
    for name in ("encodec-32khz", "sound"):
        with pytest.raises(ModelError, match=f"^{name} is a codec, not a model; models: piano\\. .* --codec {name}$"):
            resolve_model(name, cache)
    assert resolve("sound", cache).kind == "codec"


def test_a_codec_that_no_model_can_have_is_not_advised(cache: Path) -> None:
    """The catalogue's reason stands where others have the command that trains on them."""
    with pytest.raises(ModelError, match=r"encodec-48khz is a codec, not a model; .*: it is stereo") as caught:
        resolve_model("encodec-48khz", cache)
    assert "--codec" not in str(caught.value)


def test_an_unknown_name_lists_models_as_models(cache: Path) -> None:
    """Codecs are named beside them, not among them."""
    make(cache / "mine", "mine")
    with pytest.raises(ModelError, match=r"Models: piano \(codecs: encodec-24khz, .*, mine, sound\)"):
        resolve("foo", cache)


def test_a_missing_codec_says_what_to_put_where(known: KnownCodec, cache: Path) -> None:
    """Name, address, size, hash and place are all in the message."""
    with pytest.raises(ModelError) as caught:
        find_checkpoint("small-codec", cache)
    for part in (known.url, known.sha256, f"{known.bytes} bytes", str(cache / "small-codec" / "w.safetensors")):
        assert part in str(caught.value)
    with pytest.raises(ModelError, match="Did you mean small-codec"):
        find_checkpoint("smal-codec", cache)


def test_a_codec_is_used_only_when_whole(known: KnownCodec, cache: Path) -> None:
    """Size and hash are checked at every use."""
    path = cache / "small-codec" / "w.safetensors"
    path.parent.mkdir()
    path.write_bytes(DATA)
    assert find_checkpoint("small-codec", cache) == path
    path.write_bytes(DATA[:-1])
    with pytest.raises(ModelError, match=f"has {len(DATA) - 1} bytes, expected {len(DATA)}"):
        find_checkpoint("small-codec", cache)
    path.write_bytes(DATA[:-1] + b"X")
    with pytest.raises(ModelError, match="is damaged: its sha256 is"):
        find_checkpoint("small-codec", cache)


def test_listing(bundled: Path, known: KnownCodec, cache: Path) -> None:
    """Bundled, cached and absent entries, with sizes, licences and what is wrong."""
    make(cache / "mine", "mine")
    make(cache / "broken", "broken")
    (cache / "broken" / "codec.safetensors").write_bytes(b"")
    (cache / ".mine.partial").mkdir()
    entries = {entry.name: entry for entry in list_models(cache)}
    assert list(entries) == [
        "piano",
        "broken",
        "mine",
        "encodec-32khz",
        "encodec-24khz",
        "encodec-48khz",
        "small-codec",
    ]
    assert (entries["piano"].source, entries["piano"].kind, entries["piano"].licence) == ("bundled", "codec", "CC0")
    assert entries["mine"].bytes == sum(file.stat().st_size for file in (cache / "mine").iterdir())
    assert "codec.safetensors has 0 bytes" in entries["broken"].problem
    assert (entries["small-codec"].path, entries["small-codec"].source) == (None, "not here")
    path = cache / "small-codec" / "w.safetensors"
    path.parent.mkdir()
    path.write_bytes(DATA)
    assert list_models(cache)[-1].path == path


def test_an_absent_cache_is_empty(tmp_path: Path, bundled: Path) -> None:
    """Listing creates nothing."""
    assert [entry.source for entry in list_models(tmp_path / "none")] == ["bundled", *["not here"] * 3]
    assert not (tmp_path / "none").exists()


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The argument wins; else it is the system's place for caches; the environment is the command line's business."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir(Path("~/mine")) == tmp_path / "mine"
    assert cache_dir("x") == Path("x")
    assert cache_dir().name == "audiolm" and "AUDIOLM" not in str(cache_dir())


def test_known_codecs_are_pinned() -> None:
    """Every address holds a commit or digits of the hash, which is whole wherever it is published whole."""
    for name, codec in KNOWN_CODECS.items():
        assert name == codec.name
        assert len(codec.sha256) in (8, 64)
        assert codec.sha256 in codec.url or any(len(part) == 40 for part in codec.url.split("/"))
        assert codec.url.startswith("https://") and codec.url.endswith(codec.filename)
        assert codec.unfit or name in PUBLISHED
        assert name not in PUBLISHED or PUBLISHED[name].name == name
    assert len(KNOWN_CODECS["encodec-32khz"].sha256) == 64


def test_a_hash_published_in_part(known: KnownCodec, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits that are known must be right; the others are remembered from the first time."""
    part = dataclasses.replace(known, sha256=known.sha256[:8], bytes=None)
    monkeypatch.setitem(KNOWN_CODECS, part.name, part)
    assert known_hash("small-codec", cache) == ""
    path = cache / "small-codec" / "w.safetensors"
    path.parent.mkdir()
    path.write_bytes(DATA)
    assert known_hash("small-codec", cache) == known.sha256
    path.write_bytes(DATA + b"x")
    with pytest.raises(
        ModelError, match=rf"sha256 is \w{{64}}, expected {part.sha256}; run: audiolm models pull small"
    ):
        find_checkpoint("small-codec", cache)


def test_a_stamp_saves_hashing(known: KnownCodec, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hash for any number of uses; a changed file, or `again`, is hashed anew; what cannot be noted is hashed."""
    path = cache / "small-codec" / "w.safetensors"
    path.parent.mkdir()
    path.write_bytes(DATA)
    hashed: list[Path] = []
    monkeypatch.setattr(stamps, "hash_file", lambda file: hashed.append(file) or hash_file(file))
    for _ in range(3):
        find_checkpoint("small-codec", cache)
    assert len(hashed) == 1
    find_checkpoint("small-codec", cache, rehash=True)
    assert len(hashed) == 2
    os.utime(path, ns=(0, 0))
    find_checkpoint("small-codec", cache)
    assert len(hashed) == 3
    stamp = path.with_name(".w.safetensors.checked.json")
    for damaged in ("[", "[]", '{"sha256": 3}'):
        stamp.write_text(damaged)
        find_checkpoint("small-codec", cache)
    assert len(hashed) == 6
    stamp.unlink()
    stamp.mkdir()
    for _ in range(2):
        find_checkpoint("small-codec", cache)
    assert len(hashed) == 8


def test_a_prefix_does_not_admit_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only digits are published, the file that came first must stay."""
    path = tmp_path / "w.th"
    path.write_bytes(DATA)
    digest = stamps.verify_hash(path, None, hashlib.sha256(DATA).hexdigest()[:8])
    os.utime(path, ns=(0, 0))
    monkeypatch.setattr(stamps, "hash_file", lambda file: digest[:8] + "0" * 56)
    with pytest.raises(ModelError, match="has changed"):
        stamps.verify_hash(path, None, digest[:8])
