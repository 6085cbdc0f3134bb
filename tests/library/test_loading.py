"""Models and the codecs that they carry or name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audiolm_cli.checkpoints.catalogue import resolve
from audiolm_cli.checkpoints.folder import MODEL_TENSORS, Folder, FolderFacts, write_folder
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.errors import ModelError
from audiolm_cli.library.loading import load_codec, load_model
from audiolm_cli.model.decoders import build

CPU = torch.device("cpu")


def name_codec(path: Path, sha256: str) -> Folder:
    """A tiny model of the codes of `sound` that does not carry the codec."""
    sound = resolve("sound")
    shape = ModelConfig(d_model=16, nhead=2, num_layers=1, num_quantizers=9)
    facts = FolderFacts(
        kind="model", name="mine", model=shape.to_dict(), codec={**sound.codec, "sha256": sha256}, training={}
    )
    return write_folder(path, facts, tensors={MODEL_TENSORS: build(shape).state_dict()}, texts={})


def test_a_bundled_codec_need_not_be_carried(tmp_path: Path) -> None:
    """It is found by the hash of its codes."""
    folder = name_codec(tmp_path / "mine", resolve("sound").codec["sha256"])
    assert not folder.carries_codec
    own, bundled = load_model(str(folder.path), CPU).codec.state_dict(), load_codec("sound").state_dict()
    assert own.keys() == bundled.keys() and all(torch.equal(own[name], bundled[name]) for name in own)


def test_a_codec_that_is_nowhere_is_named(tmp_path: Path) -> None:
    folder = name_codec(tmp_path / "mine", 64 * "0")
    with pytest.raises(ModelError, match="codes of the codec sound, which is not here"):
        load_model(str(folder.path), CPU)
