"""Labels of recordings: by folder, by a table, and by what lhotse's manifests say; through a token store."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from audiolm_cli.data.manifest import CodecFacts, TokenClip, write_store
from audiolm_cli.data.parts import INPUTS, Input, save_inputs
from audiolm_cli.data.styles import check_source, read_styles
from audiolm_cli.errors import DataError

FACTS = CodecFacts(
    name="c", sha256="", sample_rate_hz=32000, hop_samples=640, num_codebooks=2, codebook_size=16, source=""
)


def make_store(folder: Path, clips_of: dict[str, list[str]], paths: bool = True) -> Path:
    """A store of recordings at these paths with clips of these names; without `paths`, one that says none."""
    names = [name for clips in clips_of.values() for name in clips]
    codes = np.zeros((3, 2), np.int16)
    write_store(folder, FACTS, [("train", TokenClip(id=name, codes=codes)) for name in names])
    if paths:
        inputs = [
            Input(
                path=os.path.abspath(path),
                bytes=1,
                mtime_ns=1,
                sha256="0" * 64,
                frames=3,
                clips=tuple((name, 0, 3) for name in clips),
            )
            for path, clips in clips_of.items()
        ]
        save_inputs(folder / INPUTS, {}, inputs)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two kinds of recordings, one in a deeper folder, one cut at a silence, one of no kind."""
    recordings = {
        "/data/rec/piano/a.wav": ["a"],
        "/data/rec/piano/b.wav": ["b@0.00", "b@9.00"],
        "/data/rec/violin/old/c.wav": ["c"],
        "/data/rec/d.wav": ["d"],
    }
    return make_store(tmp_path / "store", recordings)


def table(tmp_path: Path, text: str, encoding: str = "utf-8") -> str:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return str(path)


def test_folders_are_labels(store: Path) -> None:
    """The first one below the folder that all share; every clip of a recording has its label."""
    expected = {"a": "piano", "b@0.00": "piano", "b@9.00": "piano", "c": "violin"}
    assert read_styles(store, "folders", FACTS) == expected


def test_recordings_that_lie_in_one_folder(tmp_path: Path) -> None:
    flat = make_store(tmp_path / "flat", {"/data/a.wav": ["a"], "/data/b.wav": ["b"]})
    with pytest.raises(DataError, match="all recordings lie in /data"):
        read_styles(flat, "folders", FACTS)
    with pytest.raises(DataError, match="does not say where"):
        read_styles(make_store(tmp_path / "bare", {"a": ["a"]}, paths=False), "folders", FACTS)


@pytest.mark.parametrize(
    "text",
    [
        "file,label\na.wav,piano\nold/c.wav,fiddle\n",
        "\ufefffile,year,label\r\n/data/rec/piano/a.wav,1990, piano \r\n../violin/old/c.wav,1991,fiddle\r\n,,\r\n",
        "label,file\npiano,./piano/a.wav\nfiddle,violin/old/c.wav\n,d.wav\nharp,none.wav\n",
    ],
)
def test_a_table_names_files_by_the_end_of_their_paths(store: Path, tmp_path: Path, text: str) -> None:
    """Columns in any order and others beside them; rows without a label, and files that are not in the store, do not
    matter.
    """
    assert read_styles(store, table(tmp_path, text), FACTS) == {"a": "piano", "c": "fiddle"}


def test_a_table_names_clips_where_no_path_is_known(tmp_path: Path) -> None:
    bare = make_store(tmp_path / "bare", {"one": ["one"], "two": ["two"]}, paths=False)
    assert read_styles(bare, table(tmp_path, "file,label\ntwo,x\n"), FACTS) == {"two": "x"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,name\na.wav,piano\n", "columns file and label"),
        ("", "columns file and label"),
        ("file,label\nnone.wav,piano\n", "none is in"),
        ("file,label\na.wav,piano\na.wav,harp\n", "line 3: a.wav has the label harp, and another one"),
        ("file,label\nB\xe9la.wav,piano\n", "none is in"),
    ],
)
def test_tables_that_do_not_fit(store: Path, tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_styles(store, table(tmp_path, text), FACTS)


def test_a_name_that_fits_two_recordings(tmp_path: Path) -> None:
    twins = make_store(tmp_path / "twins", {"/r/x/a.wav": ["a-1"], "/r/y/a.wav": ["a-2"]})
    with pytest.raises(DataError, match=r"line 2: a.wav fits 2 \(/r/x/a.wav, /r/y/a.wav\); give more"):
        read_styles(twins, table(tmp_path, "file,label\na.wav,piano\n"), FACTS)
    assert read_styles(twins, table(tmp_path, "file,label\ny/a.wav,piano\n"), FACTS) == {"a-2": "piano"}


def test_a_table_that_cannot_be_read(store: Path, tmp_path: Path) -> None:
    """Is refused in the same words before there is a store."""
    latin = table(tmp_path, "file,label\nB\xe9la.wav,piano\n", "latin-1")
    missing = str(tmp_path / "lables.csv")
    for source, said in ((latin, r"\(it is not UTF-8"), (missing, rf"\(No such file .*\)\. Did you mean {latin}\?")):
        with pytest.raises(DataError, match=f"{source}: cannot be read {said}"):
            read_styles(store, source, FACTS)
        with pytest.raises(DataError, match=f"{source}: cannot be read {said}"):
            check_source(source)


def test_what_may_say_something_of_recordings(tmp_path: Path) -> None:
    for source in ("folders", table(tmp_path, "file,label\na.wav,piano\n")):
        check_source(source)
    with pytest.raises(DataError, match=r"--styles speaker: recordings have no .* folders or a table NAME.csv"):
        check_source("speaker")


def test_fields_of_supervisions(store: Path) -> None:
    """Their own and custom ones; cuts without one have no label; a field that is nowhere ends with those there are."""
    manifest = store / "cuts_train.jsonl.gz"
    lines = [json.loads(line) for line in gzip.decompress(manifest.read_bytes()).splitlines()]
    said = [{"speaker": "ann", "custom": {"instrument": "harp", "takes": 3}}, {"speaker": "ben"}]
    for line, supervision in zip(lines, said, strict=False):
        line["supervisions"] = [{"id": "s", "recording_id": line["id"], "start": 0.0, "duration": 0.06, **supervision}]
    manifest.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))

    assert read_styles(store, "speaker", FACTS) == {"a": "ann", "b@0.00": "ben"}
    assert read_styles(store, "instrument", FACTS) == {"a": "harp"}
    with pytest.raises(DataError, match=r"folders, a table NAME.csv, or .* instrument, speaker"):
        read_styles(store, "takes", FACTS)
