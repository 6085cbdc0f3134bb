"""Folders on disk: what is written is what is read, and what is damaged is refused by name."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from audiolm_cli.checkpoints import folder as folders
from audiolm_cli.checkpoints import header
from audiolm_cli.checkpoints.folder import Folder, FolderFacts, load_tensors, read_folder, verify_folder, write_folder
from audiolm_cli.config.shapes import ModelConfig, SpectralConfig
from audiolm_cli.errors import ModelError, OutputError

MODEL = json.loads(json.dumps(ModelConfig(d_model=32, nhead=2, num_layers=1).to_dict()))
CODEC = {"family": "spectral", "name": "tiny", "config": SpectralConfig(width=8).to_dict()}
TENSORS = {
    "model.safetensors": {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([7], dtype=torch.int64)},
    "codec.safetensors": {"half": torch.tensor([[0.5, -2.0]], dtype=torch.bfloat16)},
}
SHAPES = {"a.weight": (2, 3), "b": (1,)}


def write(path: Path, **changes: Any) -> Folder:
    """A small model folder at `path`."""
    described: dict[str, Any] = {
        "kind": "model",
        "name": "tiny",
        "model": MODEL,
        "codec": CODEC,
        "training": {"licence": "CC0", "hours": 1.5, "who": "Bézier"},
    }
    facts = FolderFacts(**{name: changes.pop(name, value) for name, value in described.items()})
    return write_folder(path, facts, **{"tensors": TENSORS, "texts": {"MODEL_CARD.md": "# Tiny\n"}, **changes})


def edit(path: Path, field: str, value: Any) -> None:
    """Set (or with None remove) one dotted field of a `config.json`; '/' stands for a dot inside a name."""
    config = json.loads((path / "config.json").read_text())
    *parents, last = [part.replace("/", ".") for part in field.split(".")]
    inner = config
    for part in parents:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    (path / "config.json").write_text(json.dumps(config))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where a whole model folder is."""
    return write(tmp_path / "tiny").path


def test_reading_gives_what_was_written(tmp_path: Path) -> None:
    """Description, texts and tensors come back, with their types."""
    written = write(tmp_path / "new" / "tiny")
    read = read_folder(tmp_path / "new" / "tiny")
    assert read == written
    assert (read.kind, read.name, read.model, read.codec) == ("model", "tiny", MODEL, CODEC)
    assert read.training["who"] == "Bézier"
    assert (read.licence, read.carries_codec) == ("CC0", True)
    assert (read.path / "MODEL_CARD.md").read_text() == "# Tiny\n"
    verify_folder(read)
    for filename, tensors in TENSORS.items():
        loaded = load_tensors(read, filename)
        assert loaded.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert loaded[name].dtype == tensor.dtype
            assert torch.equal(loaded[name], tensor)


def test_a_codec_folder_and_a_model_that_names_its_codec(tmp_path: Path) -> None:
    """The two other forms a folder has."""
    codec = write(
        tmp_path / "codec", kind="codec", model=None, tensors={"codec.safetensors": TENSORS["codec.safetensors"]}
    )
    assert (read_folder(codec.path).kind, codec.model) == ("codec", None)
    named = {"family": "encodec", "name": "encodec-32khz", "config": {}, "sha256": "0" * 64}
    model = write(tmp_path / "m", codec=named, tensors={"model.safetensors": TENSORS["model.safetensors"]})
    assert not read_folder(model.path).carries_codec


def test_nothing_temporary_is_left(model: Path) -> None:
    """Beside the folder there is nothing, and in it only what was asked for."""
    assert os.listdir(model.parent) == ["tiny"]
    assert sorted(os.listdir(model)) == ["MODEL_CARD.md", "codec.safetensors", "config.json", "model.safetensors"]


def test_the_hash_identifies_the_model(tmp_path: Path) -> None:
    """The same weights and shape give the same hash, whatever card and facts say; others give another."""
    first = write(tmp_path / "a").sha256
    assert write(tmp_path / "b").sha256 == first
    assert shutil.copytree(tmp_path / "a", tmp_path / "c") and read_folder(tmp_path / "c").sha256 == first
    other = {**TENSORS, "codec.safetensors": {"half": torch.tensor([[0.5, -2.5]], dtype=torch.bfloat16)}}
    hashes = {
        first,
        write(tmp_path / "d", tensors=other).sha256,
        write(tmp_path / "e", model={**MODEL, "max_frames": 20}).sha256,
    }
    assert len(hashes) == 3
    assert write(tmp_path / "f", training={}).sha256 == first
    (tmp_path / "a" / "MODEL_CARD.md").write_text("# Edited later\n")
    assert read_folder(tmp_path / "a").sha256 == first


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("format", "pickle", "field format is 'pickle'"),
        ("format", None, "field format is None"),
        ("format_version", 2, "field format_version is 2"),
        ("format_version", 0, "field format_version is 0"),
        ("format_version", "1", "field format_version is '1'"),
        ("format_version", True, "field format_version is True"),
        ("name", "", "field name is empty"),
        ("name", None, "field name is missing"),
        ("audiolm_version", 3, "field audiolm_version is 3, expected a text"),
        ("surprise", 1, "field surprise is unknown"),
        ("model", None, "field model is missing"),
        ("model", [], "field model is [], expected an object"),
        ("model.d_model", "wide", "field model.d_model is 'wide', expected a whole number"),
        ("model.d_model", 33, "d_model (--decoder-dim) must be a multiple of twice nhead"),
        ("model.nhead", 0, "field model does not fit"),
        ("model.depth", 3, "field model.depth is unknown"),
        ("codec.family", "mp3", "field codec.family is 'mp3'"),
        ("codec.config", None, "field codec.config is missing"),
        ("codec.config.width", 1.5, "field codec.config.width is 1.5"),
        ("codec.sha256", "abc", "field codec.sha256 is 'abc'"),
        ("training", "long", "field training is 'long'"),
        ("files", None, "field files is missing"),
        ("files.model/safetensors", None, "field files lists no model.safetensors"),
        ("files.codec/safetensors", None, "field files lists no codec.safetensors"),
        ("files.model/safetensors", 3, "field files.model.safetensors is not an object"),
        ("files.model/safetensors.bytes", -1, "field files.model.safetensors.bytes is -1"),
        ("files.model/safetensors.bytes", 5, "expected 5"),
        ("files.model/safetensors.sha256", "A" * 64, "field files.model.safetensors.sha256"),
        ("files.more/safetensors", {"bytes": 1, "sha256": "0" * 64}, "more.safetensors is missing"),
        ("files.//secret/safetensors", {"bytes": 1, "sha256": "0" * 64}, "is not the plain name"),
    ],
)
def test_a_field_that_does_not_fit_is_named(model: Path, field: str, value: Any, told: str) -> None:
    """Every field is checked and the message says which one is wrong."""
    edit(model, field, value)
    with pytest.raises(ModelError) as caught:
        read_folder(model)
    assert told in str(caught.value)
    assert str(model) in str(caught.value)


@pytest.mark.parametrize(
    ("contents", "told"),
    [
        (b"", "not valid JSON"),
        (b'{"format": ', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "holds a list"),
        (b" " * (folders.MAX_CONFIG_BYTES + 1), "is larger than"),
    ],
)
def test_a_damaged_config_is_refused(model: Path, contents: bytes, told: str) -> None:
    """Anything but one small JSON object is a ModelError."""
    (model / "config.json").write_bytes(contents)
    with pytest.raises(ModelError, match=told):
        read_folder(model)


def test_what_is_missing_is_named(model: Path, tmp_path: Path) -> None:
    """No folder, no config, no tensor file."""
    with pytest.raises(ModelError, match="nowhere is not a folder"):
        read_folder(tmp_path / "nowhere")
    (model / "codec.safetensors").unlink()
    with pytest.raises(ModelError, match=r"codec\.safetensors is missing"):
        read_folder(model)
    (model / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        read_folder(model)


def test_a_flipped_bit_is_found_by_hash_and_a_cut_by_size(model: Path) -> None:
    """`verify_folder` sees what keeps the size, `read_folder` what does not."""
    file = model / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged: its sha256"):
        verify_folder(read_folder(model))
    file.write_bytes(data[:-1])
    with pytest.raises(ModelError, match=r"model\.safetensors has \d+ bytes, expected \d+"):
        read_folder(model)


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ({**SHAPES, "c": (1,)}, "lacks tensors: c"),
        ({"b": (1,)}, "unknown tensors: a.weight"),
        ({"a.weight": (3, 2), "b": (1,)}, r"tensor a\.weight has shape \[2, 3\], expected \[3, 2\]"),
    ],
)
def test_tensors_are_compared_before_they_are_read(
    model: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, tuple[int, ...]], told: str
) -> None:
    """Names and shapes are refused from the header alone."""
    folder = read_folder(model)
    assert load_tensors(folder, "model.safetensors", SHAPES).keys() == SHAPES.keys()
    monkeypatch.setattr("safetensors.safe_open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(ModelError, match=told):
        load_tensors(folder, "model.safetensors", expected)


def test_every_truncation_of_a_tensor_file_is_refused(model: Path) -> None:
    """However short the file is cut, reading it is a ModelError that names it."""
    folder = read_folder(model)
    file = model / "model.safetensors"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"model\.safetensors"):
            load_tensors(folder, "model.safetensors")


def test_a_hostile_header_is_refused(model: Path) -> None:
    """Neither its length nor its number of entries decides how much is read."""
    folder = read_folder(model)
    file = model / "model.safetensors"
    for claim in (header.MAX_HEADER_BYTES + 1, 2**63, 0):
        file.write_bytes(claim.to_bytes(8, "little") + b"{}" * 1_000_000)
        with pytest.raises(ModelError, match="its header claims"):
            load_tensors(folder, "model.safetensors")
    save_file({str(index): torch.zeros(0) for index in range(header.MAX_TENSORS + 1)}, file)
    with pytest.raises(ModelError, match="holds 10001 tensors"):
        load_tensors(folder, "model.safetensors")
    text = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(ModelError, match="is damaged"):
        load_tensors(folder, "model.safetensors")


def test_force_is_needed_and_replaces_only_our_own(model: Path, tmp_path: Path) -> None:
    """Nothing is overwritten unasked, and never what this program did not write."""
    before = read_folder(model)
    with pytest.raises(OutputError, match="exists already"):
        write(model, name="second")
    assert read_folder(model) == before
    assert write(model, name="second", force=True) == read_folder(model)
    assert read_folder(model).name == "second"
    (model / "metrics.jsonl").write_text("{}")
    with pytest.raises(OutputError, match=r"also holds metrics\.jsonl"):
        write(model, force=True)
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="something other than a model"):
        write(home, force=True)
    assert (home / "letter.txt").read_text() == "dear"
    with pytest.raises(OutputError, match="is not a folder"):
        write(home / "letter.txt", force=True)


def test_a_damaged_folder_can_be_replaced(model: Path) -> None:
    """Force also repairs: a wrong size must not keep a folder from being written again."""
    (model / "model.safetensors").write_bytes(b"")
    write(model, force=True)
    verify_folder(read_folder(model))


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("calls", range(8))
def test_an_interrupted_write_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int, error: BaseException, force: bool
) -> None:
    """Whichever step is interrupted, the final name has nothing, or what it had before; and no rubbish stays."""
    path = tmp_path / "tiny"
    before = write(path) if force else None
    done = 0

    def interrupt(real: Any) -> Any:
        def call(*args: Any) -> Any:
            nonlocal done
            done += 1
            if done == calls + 1:
                raise error
            return real(*args)

        return call

    with monkeypatch.context() as patch, contextlib.suppress(OutputError, KeyboardInterrupt, SystemExit):
        patch.setattr(os, "fsync", interrupt(os.fsync))
        patch.setattr(Path, "rename", interrupt(Path.rename))
        write(path, name="second", force=force)
    found = read_folder(path) if path.exists() else None
    if found is not None:
        verify_folder(found)
    assert found == before or (found is not None and found.name == "second")
    assert found != before or done > calls
    assert set(os.listdir(tmp_path)) <= {"tiny"}


def test_rubbish_of_killed_writers_goes_after_a_day(tmp_path: Path) -> None:
    """An old temporary folder of the same name is removed; a young one may be in use, another name is not ours."""
    names = (".tiny.00000000.partial", ".tiny.11111111.partial", ".other.00000000.partial")
    for name in names:
        (tmp_path / name).mkdir()
    for name in (names[0], names[2]):
        os.utime(tmp_path / name, (0, 0))
    write(tmp_path / "tiny")
    assert sorted(os.listdir(tmp_path)) == sorted([names[2], names[1], "tiny"])


def test_a_folder_that_cannot_be_read_back_is_not_put_in_place(tmp_path: Path) -> None:
    """A description that does not fit is found before the rename."""
    with pytest.raises(ModelError, match=r"field model\.d_model"):
        write(tmp_path / "tiny", model={**MODEL, "d_model": "wide"})
    assert os.listdir(tmp_path) == []


def test_an_unwritable_place_is_an_output_error(tmp_path: Path) -> None:
    """The parent of the folder is a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "file" / "tiny")


def test_others_may_read_what_they_may_read_elsewhere(tmp_path: Path) -> None:
    """Tensor files get the permissions of any new file, so a shared installation works for every user."""
    (tmp_path / "plain").touch()
    folder = write(tmp_path / "a")
    assert {path.stat().st_mode for path in folder.path.iterdir()} == {(tmp_path / "plain").stat().st_mode}
