"""Joining token stores: all clips are there, and renderings of one piece stay together."""

from __future__ import annotations

import sys
from pathlib import Path

import join_stores
import numpy as np
import pytest

from audiolm_cli.data.files import SPLITS
from audiolm_cli.data.manifest import COPIES, read_facts, read_store, write_store
from audiolm_cli.data.tokens import CodecFacts, TokenClip

FACTS = CodecFacts(name="tiny", sha256="0" * 64, sample_rate_hz=8000, hop_samples=320, num_codebooks=2, codebook_size=8)


def make_store(folder: Path, ending: str, facts: CodecFacts = FACTS) -> Path:
    """Sixty pieces, one after the other in train, dev and test."""
    rng = np.random.default_rng(len(ending))
    clips = [
        (SPLITS[i % 3], TokenClip(id=f"piece {i}{ending}.wav", codes=rng.integers(8, size=(9, 2)).astype(np.int16)))
        for i in range(60)
    ]
    write_store(folder, facts, clips)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["join_stores.py", *map(str, arguments)])
    join_stores.main()


def test_all_clips_are_there_and_split_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endings = ["", "_second", "_recorded", "_second_recorded2"]
    stores = [make_store(tmp_path / f"store{ending}", ending) for ending in endings]
    run(monkeypatch, tmp_path / "joined", *stores, "--again", "_second")

    joined = {split: read_store(tmp_path / "joined", split) for split in SPLITS}
    codes = {clip.id: clip.codes for clips in joined.values() for clip in clips}
    given = {clip.id: clip.codes for store in stores for split in SPLITS for clip in read_store(store, split)}
    assert codes.keys() == given.keys() and all((codes[name] == given[name]).all() for name in given)
    assert read_facts(tmp_path / "joined") == FACTS

    homes: dict[str, set[str]] = {}
    for split, clips in joined.items():
        for clip in clips:
            homes.setdefault(join_stores.piece_of(clip.id, ["_second"]), set()).add(split)
    assert len(homes) == 60 and all(len(splits) == 1 for splits in homes.values())
    assert len(joined["train"]) > 180 and joined["dev"] and joined["test"]


def test_stretches_and_copies_stay_with_their_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a silence divides is one piece, and no transposed copy is of a piece that is held out."""
    codes = np.zeros((9, 2), np.int16)
    names = [f"piece {i}_second@{start}" for i in range(60) for start in ("0.00", "41.28")]
    clips = [("train", TokenClip(id=name, codes=codes)) for name in names]
    clips += [(COPIES, TokenClip(id=f"{name}+1", codes=codes, copy_of=name)) for name in names]
    write_store(tmp_path / "store", FACTS, clips)
    run(monkeypatch, tmp_path / "joined", tmp_path / "store", "--again", "_second")

    joined = {split: {clip.id for clip in read_store(tmp_path / "joined", split)} for split in SPLITS}
    for name in names:
        whole = {f"{name.partition('@')[0]}@{start}" for start in ("0.00", "41.28")}
        assert any(whole <= members for members in joined.values())
    assert joined["dev"] | joined["test"]
    assert {clip.copy_of for clip in read_store(tmp_path / "joined", COPIES)} == joined["train"]


def test_codes_of_two_codecs_are_not_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = CodecFacts.from_dict({**FACTS.__dict__, "sha256": "1" * 64})
    stores = [make_store(tmp_path / "first", ""), make_store(tmp_path / "other", "_second", other)]
    with pytest.raises(SystemExit, match="other has codes of"):
        run(monkeypatch, tmp_path / "joined", *stores)
    assert not (tmp_path / "joined").exists()
