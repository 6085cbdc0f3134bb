"""Folders of recordings: everything in them is taken once, or counted and named with the reason."""

from __future__ import annotations

import os
import random
import socket
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from folder_trees import check_tree, grow_tree

from audiolm_cli.data import folders
from audiolm_cli.data.folders import HIDDEN, LOOP, OTHER, TWICE, FoundAudio, find_audio
from audiolm_cli.errors import DataError
from audiolm_cli.events import Note

links = pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")


def touch(folder: Path, *names: str) -> None:
    """Empty files, with their folders: what is in them is not looked at."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(found: FoundAudio, folder: Path) -> list[str]:
    """The files that were found, below the folder."""
    return [path.relative_to(folder).as_posix() for path in found.files]


def test_recordings_are_found_in_every_folder_and_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.wav", "a/z.FLAC", "a/y.mp3", "notes.txt", "a.wav/inner.ogg")
    found = find_audio([tmp_path])
    assert names(found, tmp_path) == ["a/y.mp3", "a/z.FLAC", "a.wav/inner.ogg", "b.wav"]
    assert found.left_out[OTHER] == [str(tmp_path / "notes.txt")] and not found.problems
    assert find_audio([tmp_path / "notes.txt"]).files == [tmp_path / "notes.txt"], "a file that is named is taken"


def test_what_can_be_read_counts_as_audio(tmp_path: Path) -> None:
    """By the names that programs give such files; each of them is read when it is named itself."""
    audio = [
        "a.aifc",
        "a.asf",
        "a.bwf",
        "a.flv",
        "a.m4r",
        "a.mlp",
        "a.mpa",
        "a.ogx",
        "a.snd",
        "a.sph",
        "a.spx",
        "a.tak",
    ]
    touch(tmp_path, *audio, "a.mid", "a.sfk", "a.ts", "a.als")
    assert names(find_audio([tmp_path]), tmp_path) == audio


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        find_audio([tmp_path / "nowhere"])
    touch(tmp_path, "notes.txt", ".take.wav")
    with pytest.raises(DataError, match=r"no audio files.*\.flac.*hidden: 1 \(.*take\.wav\)"):
        find_audio([tmp_path])


def test_hidden_at_any_depth(tmp_path: Path) -> None:
    """Trash, versions, what macOS writes beside files: no name in them is taken."""
    touch(tmp_path, "a.wav", ".Trash-1000/files/b.wav", "sub/.git/c.wav", "sub/._a.wav", "$RECYCLE.BIN/d/e.wav")
    touch(tmp_path, "__MACOSX/x.wav", "lost+found/y.wav", "sub/System Volume Information/z.wav")
    found = find_audio([tmp_path])
    assert names(found, tmp_path) == ["a.wav"]
    hidden = {Path(name).relative_to(tmp_path).as_posix() for name in found.left_out[HIDDEN]}
    apple = {"sub/._a.wav", "__MACOSX"}
    trash = {".Trash-1000", "$RECYCLE.BIN", "lost+found", "sub/System Volume Information"}
    assert hidden == apple | trash | {"sub/.git"}
    assert found.notes == [f"left out, hidden: 7 ({', '.join(found.left_out[HIDDEN])})"]


@pytest.mark.parametrize("source", [".cache/x", ".cache/x/y", ".cache", ".cache/x/.inner"])
def test_a_hidden_folder_that_is_named_is_read(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts are the names below it; the same by a relative path."""
    touch(tmp_path / ".cache/x", "y/a.wav", ".inner/b.wav")
    expected = [".inner/b.wav"] if source.endswith(".inner") else ["y/a.wav"]
    assert names(find_audio([tmp_path / source]), tmp_path / ".cache/x") == expected
    monkeypatch.chdir(tmp_path / source)
    assert len(find_audio([Path(".")]).files) == 1
    assert len(find_audio([Path("../" + Path(source).name)]).files) == 1


def test_a_hidden_folder_beside_its_own_parent(tmp_path: Path) -> None:
    """Both are named: nothing is said to be left out that is read."""
    touch(tmp_path, "a.wav", ".kept/b.wav")
    found = find_audio([tmp_path, tmp_path / ".kept"])
    assert names(found, tmp_path) == ["a.wav", ".kept/b.wav"] and not found.notes


@pytest.mark.parametrize("field", ["st_file_attributes", "st_flags"])
def test_the_marks_of_windows_and_macos(field: str) -> None:
    """There, names without a dot are hidden by a mark."""
    mark = stat.FILE_ATTRIBUTE_HIDDEN if field == "st_file_attributes" else stat.UF_HIDDEN
    for value, expected in ((mark, True), (0, False)):
        facts = SimpleNamespace(st_mode=stat.S_IFREG, **{field: value})
        entry = SimpleNamespace(name="a.wav", stat=lambda follow_symlinks, facts=facts: facts)
        assert folders._is_hidden(entry) is expected  # type: ignore[arg-type]


@links
def test_links_are_followed_once(tmp_path: Path) -> None:
    """Folders and files elsewhere are taken by the name of the link; a second way to one is said."""
    touch(tmp_path, "rec/a.wav", "rec/own/b.wav", "elsewhere/c.wav", "elsewhere/deep/d.wav", "lone/e.wav")
    rec = tmp_path / "rec"
    (rec / "album").symlink_to("../elsewhere")
    (rec / "album-again").symlink_to(tmp_path / "elsewhere" / "deep")
    (rec / "aaa").symlink_to("own")
    (rec / "single.wav").symlink_to("../lone/e.wav")
    (rec / "zingle.wav").symlink_to("single.wav")
    os.link(rec / "a.wav", rec / "own" / "hard.wav")
    found = find_audio([rec])
    assert names(found, rec) == ["a.wav", "album/c.wav", "album/deep/d.wav", "own/b.wav", "single.wav"] or (
        names(found, rec) == ["album/c.wav", "album/deep/d.wav", "own/b.wav", "own/hard.wav", "single.wav"]
    )
    twice = {Path(name).name for name in found.left_out[TWICE]}
    assert twice - {"a.wav", "hard.wav"} == {"album-again", "aaa", "zingle.wav"} and len(twice) == 4
    assert not found.problems


@links
def test_loops_end(tmp_path: Path) -> None:
    """Links to the folder itself, to one above the source, to one another; each is named, and nothing else is read."""
    touch(tmp_path, "rec/a.wav", "rec/sub/b.wav", "beside.wav")
    rec = tmp_path / "rec"
    (rec / "self").symlink_to(".")
    (rec / "sub" / "up").symlink_to("..")
    (rec / "out").symlink_to(tmp_path)
    (rec / "one").symlink_to("two")
    (rec / "two").symlink_to("one")
    (tmp_path / "elsewhere").mkdir()
    touch(tmp_path, "elsewhere/c.wav")
    (tmp_path / "elsewhere" / "back").symlink_to(rec)
    (rec / "there").symlink_to("../elsewhere")
    found = find_audio([rec])
    assert names(found, rec) == ["a.wav", "sub/b.wav", "there/c.wav"]
    assert {Path(name).name for name in found.left_out[LOOP]} == {"self", "up", "out", "back"}
    assert sorted(line.split(": ")[1] for line in found.problems) == ["is a link that leads back to itself"] * 2


@links
def test_what_links_to_nothing_is_a_problem(tmp_path: Path) -> None:
    """A recording or an album is missing; a picture is none."""
    touch(tmp_path, "a.wav")
    for name in ("b.wav", "album", "cover.jpg", ".hidden"):
        (tmp_path / name).symlink_to("gone")
    found = find_audio([tmp_path])
    assert sorted(found.problems) == [f"{tmp_path / name}: is a broken link, to gone" for name in ("album", "b.wav")]
    assert found.left_out[OTHER] == [str(tmp_path / "cover.jpg")]


@links
def test_a_link_into_a_hidden_folder_is_followed(tmp_path: Path) -> None:
    """Stores that keep files by their hash link to them from visible names."""
    touch(tmp_path, ".store/0a1b.wav")
    (tmp_path / "take.wav").symlink_to(".store/0a1b.wav")
    assert names(find_audio([tmp_path]), tmp_path) == ["take.wav"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are none")
def test_sockets_and_pipes_are_no_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named, and never opened, which could take forever."""
    monkeypatch.chdir(tmp_path)  # the names of sockets must be short
    touch(tmp_path, "a.wav")
    os.mkfifo("pipe.wav")
    os.mkfifo("control")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.flac")
        found = find_audio([Path(".")])
    assert found.files == [Path("a.wav")] and found.left_out[OTHER] == ["control"]
    assert sorted(found.problems) == ["pipe.wav: is a named pipe, not a file", "socket.flac: is a socket, not a file"]
    with pytest.raises(DataError, match=r"pipe\.wav: is a named pipe; expected an audio file, or a folder"):
        find_audio([Path("pipe.wav")])


def test_folders_that_may_not_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user who may not; the tests may run as one who may read everything."""
    touch(tmp_path, "a.wav", "locked/b.wav", "sub/locked/c.wav")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:  # the folder is removed after the test, which reads it as well
        patch.setattr(os, "scandir", refuse)
        found = find_audio([tmp_path])
        with pytest.raises(DataError, match=r"locked: cannot be read \(Permission denied\)"):
            find_audio([tmp_path / "locked"])

    assert names(found, tmp_path) == ["a.wav"]
    reason = "this folder cannot be read (Permission denied)"
    assert sorted(found.problems) == [f"{tmp_path / name}: {reason}" for name in ("locked", "sub/locked")]


def test_sources_that_overlap(tmp_path: Path) -> None:
    """A file under two of them is taken once."""
    touch(tmp_path, "rec/a.wav", "rec/sub/b.wav")
    rec = tmp_path / "rec"
    found = find_audio([rec / "a.wav", rec, rec / "sub", rec / ".." / "rec" / "a.wav"])
    assert [path.name for path in found.files] == ["a.wav", "b.wav"] and len(found.left_out[TWICE]) == 3


def test_many_names_are_counted(tmp_path: Path) -> None:
    """The line stays readable."""
    touch(tmp_path, "a.wav", *(f"cover-{i:03}.jpg" for i in range(120)))
    (line,) = find_audio([tmp_path]).notes
    assert "left out, not audio by name: 120 (" in line and line.endswith("cover-019.jpg and 100 more)")


def test_what_is_said(tmp_path: Path) -> None:
    """Lines for what was left out, warnings for what cannot be read."""
    said: list[Note] = []
    found = FoundAudio(files=[], problems=["p"], left_out={HIDDEN: ["h"], TWICE: [], LOOP: [], OTHER: []})
    found.announce(said.append, problems=False)  # type: ignore[arg-type]
    assert said == [Note(message="left out, hidden: 1 (h)")]
    found.announce(said.append, problems=True)  # type: ignore[arg-type]
    assert said[2:] == [Note(message="p", warning=True)]


@links
@pytest.mark.parametrize("seed", range(60))
def test_random_trees(tmp_path: Path, seed: int) -> None:
    """Folders of links, loops, hidden and broken names: each recording once, and a word about everything else."""
    tree = grow_tree(tmp_path, random.Random(seed), lambda path: path.write_text(path.name), lock=False)
    found = find_audio([tree.source])
    check_tree(tree, found.files, "\n".join([*found.notes, *found.problems]))
