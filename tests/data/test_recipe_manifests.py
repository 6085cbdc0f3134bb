"""Manifests as VALL-E-style recipes write them, made here by lhotse's own writers: what is read, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import lhotse
import numpy as np
import pytest
from lhotse import CutSet, Features, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.features.io import NumpyFilesWriter, NumpyHdf5Writer

from audiolm_cli.data.manifest import is_store, iter_store, list_cuts, read_facts, read_store
from audiolm_cli.data.storage import ArrayReader, candidate_paths
from audiolm_cli.errors import DataError
from audiolm_cli.events import Event, Note

RATE_HZ = 44_100  # of the recordings, which recipes store beside codes of another rate
Recipe = Callable[..., Path]


def codes(frames: int, books: int = 4, size: int = 2048) -> np.ndarray:
    """int64 [T, K], as recipes store them."""
    return np.random.default_rng(frames).integers(size, size=(frames, books))


def make_cut(name: str, array: np.ndarray, writer: Any, kind: str, shift: float, supervisions: int = 1) -> MonoCut:
    """One cut with its codes written."""
    duration = round(len(array) * shift, 8)
    key = writer.write(name, array)
    return MonoCut(
        id=name,
        start=0.0,
        duration=duration,
        channel=0,
        supervisions=[
            SupervisionSegment(
                id=f"{name}-{i}",
                recording_id=name,
                start=0.0,
                duration=duration,
                text="a line",
                custom={"tokens": {"midi": [1, 2, 3]}},
            )
            for i in range(supervisions)
        ],
        features=Features(
            type=kind,
            num_frames=len(array),
            num_features=array.shape[1],
            frame_shift=shift,
            sampling_rate=RATE_HZ,
            start=0.0,
            duration=duration,
            storage_type=writer.name,
            storage_path=str(writer.storage_path),
            storage_key=key,
            recording_id=name,
            channels=0,
        ),
        recording=Recording(
            id=name,
            sources=[AudioSource(type="file", channels=[0], source=f"wav/{name}.wav")],
            sampling_rate=RATE_HZ,
            num_samples=round(2 * duration * RATE_HZ),
            duration=2 * duration,
        ),
    )


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Write a recipe's `data/tokenized` with the working directory in the recipe's folder; returns the store."""

    def write(
        lengths: Sequence[int] = (60, 70, 80),
        kind: str = "encodec32",
        shift: float = 0.02,
        writer: Any = NumpyHdf5Writer,
        suffix: str = ".jsonl.gz",
        splits: Sequence[str] = ("train", "validation"),
        supervisions: int = 1,
        **shape: int,
    ) -> Path:
        home = tmp_path / "egs" / "atepp"
        home.mkdir(parents=True)
        monkeypatch.chdir(home)
        Path("data/tokenized").mkdir(parents=True)
        for split in splits:
            with writer(Path("data/tokenized") / f"atepp_encodec_{split}") as storage:
                members = [
                    make_cut(f"{split}-{n}", codes(n, **shape), storage, kind, shift, supervisions) for n in lengths
                ]
            CutSet.from_cuts(members).to_file(f"data/tokenized/cuts_{split}{suffix}")
        monkeypatch.chdir(tmp_path)
        return home / "data" / "tokenized"

    return write


def rewrite(manifest: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change every line of a `.jsonl` manifest."""
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for line in lines:
        change(line)
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("writer", [NumpyHdf5Writer, NumpyFilesWriter])
@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl"])
@pytest.mark.parametrize("supervisions", [0, 3])
def test_a_recipe_is_read(recipe: Recipe, writer: Any, suffix: str, supervisions: int) -> None:
    """From any working directory; `validation` is dev, and test may be missing."""
    store = recipe(writer=writer, suffix=suffix, supervisions=supervisions)
    assert is_store(store)
    for split, own in (("train", "train"), ("dev", "validation")):
        clips = read_store(store, split)
        assert [clip.id for clip in clips] == [f"{own}-{n}" for n in (60, 70, 80)]
        for clip, frames in zip(clips, (60, 70, 80), strict=True):
            assert clip.codes.dtype == np.int16 and not clip.ends, "the recording goes on behind the cut"
            np.testing.assert_array_equal(clip.codes, codes(frames))
    assert read_store(store, "test") == []


@pytest.mark.parametrize("name", ["dev", "valid", "validation"])
def test_names_of_the_second_split(recipe: Recipe, name: str) -> None:
    assert len(read_store(recipe(splits=("train", name)), "dev")) == 3


@pytest.mark.parametrize(
    ("kind", "shift", "shape", "expected"),
    [
        ("encodec32", 0.02, {}, ("encodec-32khz", "encodec-32khz", 32_000, 640, 4, 2048)),
        ("encodec32", 0.02, {"books": 2}, ("encodec32", "", 32_000, 640, 2, 2048)),
        ("encodec32ft", 0.02, {}, ("encodec32ft", "", 32_000, 640, 4, 2048)),
        ("encodec", 320 / 24_000, {"books": 8, "size": 1024}, ("encodec-24khz", "", 24_000, 320, 8, 1024)),
        ("mine", 0.02, {"size": 700}, ("mine", "", RATE_HZ, 882, 4, 1024)),
        ("mine", 0.0125, {"size": 3, "books": 1}, ("mine", "", 80, 1, 1, 4)),
    ],
)
def test_facts_come_from_the_features(
    recipe: Recipe, kind: str, shift: float, shape: dict[str, int], expected: tuple[object, ...]
) -> None:
    """A type that is known says everything; of another, the codes have to do, and that this is a guess is said."""
    events: list[Event] = []
    facts = read_facts(recipe(lengths=[400], kind=kind, shift=shift, **shape), events.append)
    told = [event.message for event in events if isinstance(event, Note) and event.warning]
    assert len(told) == (kind == "mine")
    assert all(f"{expected[-1]} is a guess" in message and "codec.json" in message for message in told)
    assert facts.sha256 == ""
    assert facts.frame_shift_s == pytest.approx(shift, abs=1e-6)
    assert expected == (
        facts.name,
        facts.source,
        facts.sample_rate_hz,
        facts.hop_samples,
        facts.num_codebooks,
        facts.codebook_size,
    )


def test_a_window_of_a_cut_is_that_window(recipe: Recipe) -> None:
    """As lhotse itself loads it, wherever the window starts and ends."""
    store = recipe(lengths=[100])
    manifest = store / "cuts_train.jsonl.gz"
    whole = lhotse.load_manifest(manifest)[0]
    windows = [whole.truncate(offset=o, duration=d) for o, d in ((0.0, 1.0), (0.5, 0.3), (1.234, 0.511), (1.5, 0.5))]
    absolute = [w.with_features_path_prefix(store.parent.parent) for w in windows]
    CutSet.from_cuts([w.with_id(f"w{i}") for i, w in enumerate(windows)]).to_file(manifest)
    clips = read_store(store, "train")
    assert [len(clip.codes) for clip in clips] == [50, 15, 26, 25]
    for clip, cut in zip(clips, absolute, strict=True):
        np.testing.assert_array_equal(clip.codes, cut.load_features())


def test_a_cut_that_ends_its_recording_says_so(recipe: Recipe) -> None:
    store = recipe(suffix=".jsonl")
    rewrite(store / "cuts_train.jsonl", lambda line: line["recording"].update(duration=line["duration"] + 0.01))
    rewrite(store / "cuts_validation.jsonl", lambda line: line.pop("recording"))
    assert all(clip.ends for clip in read_store(store, "train"))
    assert not any(clip.ends for clip in read_store(store, "dev")), "nothing says that they do"


def test_where_codes_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the manifest, as far up as the name has folders, in the working directory, and by its bare name."""
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "a" / "b" / "c"
    assert list(candidate_paths("x/y/z.h5", here)) == [
        here / "x/y/z.h5",
        tmp_path / "a" / "b" / "x/y/z.h5",
        tmp_path / "a" / "x/y/z.h5",
        tmp_path / "x/y/z.h5",
        here / "z.h5",
    ]
    assert list(candidate_paths("/far/z.h5", here)) == [Path("/far/z.h5"), here / "z.h5"]


@pytest.mark.parametrize("move", ["beside", "working directory", "absolute"])
def test_moved_codes_are_found(recipe: Recipe, tmp_path: Path, move: str) -> None:
    store = recipe(suffix=".jsonl")
    for path in list(store.glob("*.h5")):
        if move == "working directory":
            (tmp_path / "data/tokenized").mkdir(parents=True, exist_ok=True)
            path.rename(tmp_path / "data/tokenized" / path.name)
    if move == "beside":
        store = store.rename(tmp_path / "x")
    if move == "absolute":
        there = tmp_path / "far"
        (store / "atepp_encodec_train.h5").rename(there.with_suffix(".h5"))
        rewrite(
            store / "cuts_train.jsonl", lambda line: line["features"].update(storage_path=str(there.with_suffix(".h5")))
        )
    assert [len(clip.codes) for clip in read_store(store, "train")] == [60, 70, 80]


@pytest.mark.parametrize("path", ["../secret.h5", "data/../../../secret.h5", "data/tokenized/../../../../secret.h5"])
def test_no_path_leads_out_of_these_places(recipe: Recipe, tmp_path: Path, path: str) -> None:
    """Although the file is there, and is what the manifest wants."""
    store = recipe(suffix=".jsonl")
    codes_file = store / "atepp_encodec_train.h5"
    for place in (store.parent / "secret.h5", tmp_path / "secret.h5", tmp_path / "egs" / "secret.h5"):
        place.write_bytes(codes_file.read_bytes())
    rewrite(store / "cuts_train.jsonl", lambda line: line["features"].update(storage_path=path))
    with pytest.raises(DataError, match="leads out of the folder"):
        read_store(store, "train")


def test_no_key_and_no_link_leads_out_either(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "out.npy", codes(5))
    with h5py.File(tmp_path / "out.h5", "w") as file:
        file["x"] = codes(5)
    with h5py.File(tmp_path / "in" / "link.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(tmp_path / "out.h5"), "x")
        layout = h5py.VirtualLayout(shape=(5, 4), dtype="i8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "out.h5"), "x", shape=(5, 4))
        file.create_virtual_dataset("y", layout)
    with ArrayReader(tmp_path / "in") as arrays:
        for key in ("x", "y"):
            with pytest.raises(DataError, match="no array of its own"):
                arrays.read("numpy_hdf5", "link.h5", key, 0, 5)
        for key in ("../out.npy", str(tmp_path / "out.npy")):
            with pytest.raises(DataError, match="leads out of"):
                arrays.read("numpy_files", str(tmp_path / "in"), key, 0, 5)


def drop(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda line: line.pop(name)


def put(where: str, **values: object) -> Callable[[dict[str, Any]], Any]:
    return lambda line: line[where].update(values)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (drop("features"), "cut train-60 has no features.*audiolm tokenize"),
        (lambda line: [line.pop(name) for name in ("start", "features")], "is no cut but a recording"),
        (put("features", storage_type="lilcom_url"), "cut train-60: storage type 'lilcom_url' is not read"),
        (put("features", storage_path="nowhere.h5"), r"cut train-60: the codes in nowhere\.h5 are not there"),
        (put("features", storage_key="nobody"), "cut train-60:.*'nobody' cannot be read"),
        (put("features", frame_shift=0.0), "line 1 cannot be read.*frame_shift"),
        (put("features", frame_shift="soon"), "line 1 cannot be read"),
        (put("features", num_features=8), r"cut train-60: its array has shape \(60, 4\), expected \(frames, 8\)"),
        (lambda line: line.update(duration=9.0), "cut train-60: has 60 frames.*promises 450"),
        (lambda line: line.update(start=-1.0), "before its features"),
        (drop("id"), "line 1 is no lhotse cut"),
    ],
)
def test_what_is_no_cut_with_codes_is_named(recipe: Recipe, change: Callable[[dict[str, Any]], Any], told: str) -> None:
    store = recipe(suffix=".jsonl")
    rewrite(store / "cuts_train.jsonl", change)
    with pytest.raises(DataError, match=told) as caught:
        read_store(store, "train")
    assert "cuts_train.jsonl" in str(caught.value)


@pytest.mark.parametrize("padded", [1, 2])
def test_mixed_and_padded_cuts_are_left_out(recipe: Recipe, padded: int) -> None:
    """As lhotse writes them; they are counted and named, and the others are read."""
    store = recipe(suffix=".jsonl")
    cuts = list(lhotse.load_manifest(store / "cuts_train.jsonl"))
    longest_s = max(cut.duration for cut in cuts)
    cuts[:padded] = [cut.pad(duration=longest_s + 1, preserve_id=True) for cut in cuts[:padded]]
    CutSet.from_cuts(cuts).to_file(store / "cuts_train.jsonl")

    said: list[Event] = []
    clips = read_store(store, "train", said.append)
    assert [clip.id for clip in clips] == [cut.id for cut in cuts[padded:]] and len(clips) == 3 - padded
    names = ", ".join(cut.id for cut in cuts[:padded])
    left_out = f"left out, mixed or padded, which codes cannot be: {padded} ({names})"
    assert said == [Note(message=f"{store / 'cuts_train.jsonl'}: {left_out}", warning=True)]


def test_nothing_but_padded_cuts_is_refused(recipe: Recipe) -> None:
    """There is nothing to train on."""
    store = recipe(suffix=".jsonl")
    cuts = [cut.pad(duration=60, preserve_id=True) for cut in lhotse.load_manifest(store / "cuts_train.jsonl")]
    CutSet.from_cuts(cuts).to_file(store / "cuts_train.jsonl")
    with pytest.raises(DataError, match=r"cuts_train\.jsonl: all its cuts are mixed or padded.*3 \(train-60, "):
        read_store(store, "train")


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.full((60, 4), 2048), "holds the code 2048, expected 0 to 2047"),
        (np.full((60, 4), -1), "holds the code -1"),
        (np.full((60, 4), 0.5), "features of type 'encodec32', not codes"),
    ],
)
def test_what_are_no_codes_is_named(recipe: Recipe, array: np.ndarray, told: str) -> None:
    store = recipe(lengths=[60])
    with h5py.File(store / "atepp_encodec_train.h5", "r+") as file:
        del file["train-60"]
        file["train-60"] = array
    with pytest.raises(DataError, match=told):
        read_store(store, "train")


def test_whole_numbers_may_be_stored_as_floats(recipe: Recipe) -> None:
    store = recipe(lengths=[60])
    with h5py.File(store / "atepp_encodec_train.h5", "r+") as file:
        del file["train-60"]
        file["train-60"] = codes(60).astype(np.float32)
    np.testing.assert_array_equal(read_store(store, "train")[0].codes, codes(60))


def test_cuts_of_two_codecs_are_refused(recipe: Recipe) -> None:
    """By the number of codebooks and by the frame shift."""
    store = recipe(suffix=".jsonl")
    lines = (store / "cuts_train.jsonl").read_text().splitlines()
    other = json.loads(lines[1])
    for field, value, told in (
        ("num_features", 8, "train-70 has 8 codebooks, but the store's have 4"),
        ("frame_shift", 1 / 75, "train-70 has a frame shift of 0.0133"),
    ):
        changed = {**other, "features": {**other["features"], field: value}}
        (store / "cuts_train.jsonl").write_text("\n".join([lines[0], json.dumps(changed), lines[2]]))
        with pytest.raises(DataError, match=told):
            read_store(store, "train")


def test_codes_are_read_one_by_one(recipe: Recipe) -> None:
    """What comes before a damaged one is there."""
    store = recipe(suffix=".jsonl")
    rewrite(
        store / "cuts_train.jsonl",
        lambda line: line["id"] == "train-80" and line["features"].update(storage_key="nobody"),
    )
    clips = iter_store(store, "train")
    assert [next(clips).id for _ in range(2)] == ["train-60", "train-70"]
    with pytest.raises(DataError, match=r"cut train-80:.*'nobody'"):
        next(clips)


def test_a_manifest_alone_lists_its_cuts(recipe: Recipe) -> None:
    store = recipe()
    facts = read_facts(store)
    assert [cut.id for cut in list_cuts(store / "cuts_validation.jsonl.gz", facts)] == [
        "validation-60",
        "validation-70",
        "validation-80",
    ]
    assert len(list_cuts(store, facts)) == 6
    alone = (store / "cuts_validation.jsonl.gz").rename(store / "some.jsonl.gz")
    (store / "cuts_train.jsonl.gz").unlink()
    assert read_facts(alone) == facts


def test_an_own_description_beside_the_manifests_is_believed(recipe: Recipe) -> None:
    store = recipe(kind="mine")
    said = {"name": "mine", "sha256": "", "sample_rate_hz": 32_000, "hop_samples": 640, "num_codebooks": 4}
    (store / "codec.json").write_text(json.dumps({**said, "codebook_size": 4096}))
    events: list[Event] = []
    assert read_facts(store, events.append).codebook_size == 4096 and len(read_store(store, "train")) == 3
    assert events == []
