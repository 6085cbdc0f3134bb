"""Token stores: what is written comes back, here and through lhotse itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import lhotse
import numpy as np
import pytest

from audiolm_cli.data.manifest import CodecFacts, TokenClip, is_store, read_facts, read_store, write_store
from audiolm_cli.errors import DataError

FACTS = CodecFacts(
    name="tiny", sha256="ab", sample_rate_hz=32_000, hop_samples=640, num_codebooks=3, codebook_size=2048
)


def clip(name: str, frames: int, ends: bool = True, facts: CodecFacts = FACTS) -> TokenClip:
    rng = np.random.default_rng(frames)
    codes = rng.integers(facts.codebook_size, size=(frames, facts.num_codebooks)).astype(np.int16)
    return TokenClip(id=name, codes=codes, ends=ends)


CLIPS = [
    ("train", clip("a", 100)),
    ("train", clip("name with spaces, ünïcode and #", 7, ends=False)),
    ("test", clip("b", 1)),
    ("train", clip("c", 1234)),
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "tokens"
    assert not is_store(tmp_path)
    assert write_store(folder, FACTS, iter(CLIPS)) == {"train": 3, "dev": 0, "test": 1}
    assert is_store(folder)
    return folder


def same(a: TokenClip, b: TokenClip) -> bool:
    return (a.id, a.ends) == (b.id, b.ends) and a.codes.dtype == b.codes.dtype and np.array_equal(a.codes, b.codes)


def test_a_store_comes_back_as_it_was(store: Path) -> None:
    assert read_facts(store) == FACTS
    for split in ("train", "dev", "test"):
        expected = [clip for own, clip in CLIPS if own == split]
        read = read_store(store, split)
        assert len(read) == len(expected) and all(map(same, read, expected))


@pytest.mark.parametrize(("rate_hz", "hop_samples"), [(32_000, 640), (24_000, 320), (44_100, 441), (22_050, 256)])
def test_every_length_comes_back_at_every_frame_shift(tmp_path: Path, rate_hz: int, hop_samples: int) -> None:
    """Durations in seconds, rounded as lhotse wants them, must not lose or add a frame."""
    facts = CodecFacts(
        name="x", sha256="", sample_rate_hz=rate_hz, hop_samples=hop_samples, num_codebooks=2, codebook_size=16
    )
    lengths = [*range(1, 20), 749, 750, 751, 1499, 50_001]
    clips = [("train", clip(f"{n}", n, facts=facts)) for n in lengths]
    write_store(tmp_path, facts, clips)
    assert all(map(same, read_store(tmp_path, "train"), [own for _, own in clips]))


def test_a_store_can_be_moved(store: Path, tmp_path: Path) -> None:
    shutil.move(store, tmp_path / "moved")
    assert same(read_store(tmp_path / "moved", "test")[0], CLIPS[2][1])


def test_lhotse_opens_what_is_written(store: Path) -> None:
    """Integer codes of shape (T, K) at the codec's frame shift."""
    cuts = lhotse.load_manifest(store / "cuts_train.jsonl.gz")
    assert isinstance(cuts, lhotse.CutSet)
    for cut, (_, written) in zip(cuts, [pair for pair in CLIPS if pair[0] == "train"], strict=True):
        frames = len(written.codes)
        assert (cut.id, cut.num_frames, cut.num_features, cut.frame_shift) == (written.id, frames, 3, 0.02)
        assert cut.duration == pytest.approx(frames * 0.02)
        loaded = cut.with_features_path_prefix(store).load_features()
        assert np.issubdtype(loaded.dtype, np.integer)
        np.testing.assert_array_equal(loaded, written.codes)


def test_lhotse_finds_the_codes_from_any_working_directory(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the store was written by a relative path, or under another name first."""
    monkeypatch.chdir(store.parent)
    write_store(Path("partial"), FACTS, CLIPS, final_folder=Path("final"))
    Path("partial").rename("final")
    monkeypatch.chdir(tmp_path)
    for folder in (store, store.parent / "final"):
        cut = lhotse.load_manifest(folder / "cuts_test.jsonl.gz")[0]
        np.testing.assert_array_equal(cut.load_features(), CLIPS[2][1].codes)


def test_lhotse_finds_nothing_wrong(store: Path) -> None:
    """Its own check, data included."""
    from lhotse.qa import validate

    for split in ("train", "test"):
        validate(lhotse.load_manifest(store / f"cuts_{split}.jsonl.gz"), read_data=True)


def test_codes_are_stored_as_integers(store: Path) -> None:
    with h5py.File(store / "codes.h5") as file:
        assert len(file) == 4 and all(dataset.dtype == np.int16 for dataset in file.values())


def test_writing_again_replaces_the_store(store: Path) -> None:
    write_store(store, FACTS, [("dev", clip("new", 5))])
    assert [len(read_store(store, split)) for split in ("train", "dev", "test")] == [0, 1, 0]


def test_a_missing_manifest_is_named_unless_the_store_can_do_without(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cuts_train.*no such manifest"):
        read_store(tmp_path, "train")
    assert read_store(tmp_path, "dev") == read_store(tmp_path, "test") == []


@pytest.mark.parametrize("keep", [0, 5, 60, -12], ids=["empty", "header", "half", "end missing"])
def test_a_damaged_manifest_is_named(store: Path, keep: int) -> None:
    path = store / "cuts_train.jsonl.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"cuts_train\.jsonl\.gz: .*cannot be read.*tokenize"):
        read_store(store, "train")


def test_text_in_place_of_a_manifest_is_named(store: Path) -> None:
    (store / "cuts_train.jsonl.gz").write_text("{}")
    with pytest.raises(DataError, match="cannot be read"):
        read_store(store, "train")


def test_missing_or_damaged_codes_are_named(store: Path) -> None:
    (store / "codes.h5").write_bytes(b"not hdf5")
    with pytest.raises(DataError, match="cannot be read"):
        read_store(store, "train")
    (store / "codes.h5").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read_store(store, "train")


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"name": "x"}', '{"unknown": 1}'])
def test_damaged_facts_are_named(store: Path, text: str) -> None:
    (store / "codec.json").write_text(text)
    with pytest.raises(DataError, match=r"codec\.json: cannot be read.*tokenize"):
        read_facts(store)
