"""Transposed copies: what is in them, which recordings have them, and that no held-out sound is learned through one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiolm_cli.data.manifest import COPIES, read_store
from audiolm_cli.data.tokens import TokenClip
from audiolm_cli.distributed import Ranks
from audiolm_cli.errors import UsageError
from audiolm_cli.files import hash_file
from audiolm_cli.tokenizing import assembly
from audiolm_cli.tokenizing.encoding import encode_recording, scale_span
from audiolm_cli.training.preflight.clips import cut_copies
from audiolm_cli.training.preflight.fine_tuning import COPIES_MINUTES, USUAL_SEMITONES, suited_semitones
from audiolm_cli.workflows import tokenize as workflow

Piano = Callable[..., np.ndarray]
RATE_HZ = 16000


@pytest.fixture
def recordings(tmp_path: Path, piano: Piano) -> Path:
    """Four recordings of 3 s to 6 s, one of them with a long silence in it."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for i in range(4):
        soundfile.write(folder / f"piece-{i}.wav", piano(3 + i, RATE_HZ, seed=i), RATE_HZ)
    rests = [piano(2, RATE_HZ, seed=8), np.zeros((6 * RATE_HZ, 1)), piano(2, RATE_HZ, seed=9)]
    soundfile.write(folder / "rests.wav", np.concatenate(rests), RATE_HZ)
    return folder


def transposed(recordings: Path, store: Path, codec: Path, semitones: int, **options: Any) -> workflow.Tokenized:
    """The recordings in a token store, with copies."""
    return workflow.tokenize([recordings], store, str(codec), transpose=lambda minutes: semitones, **options)


def test_a_copy_is_the_recording_played_faster_or_slower(
    recordings: Path, tiny_codec: Path, tmp_path: Path, piano: Piano
) -> None:
    """An octave higher is twice the sample rate: the codes are those of the same samples at that rate."""
    transposed(recordings, tmp_path / "t", tiny_codec, 12)
    copies = {clip.id: clip for clip in read_store(tmp_path / "t", COPIES)}
    learned = {clip.id: clip for clip in read_store(tmp_path / "t", "train")}
    assert {clip.copy_of for clip in copies.values()} == set(learned) and len(copies) == 24 * len(learned)

    name = next(name for name in learned if name.startswith("piece"))
    samples, _ = soundfile.read(recordings / f"{name}.wav")
    for step, rate_hz in ((12, 2 * RATE_HZ), (-12, RATE_HZ // 2)):
        folder = tmp_path / f"played{step}"
        folder.mkdir()
        soundfile.write(folder / "played.wav", samples, rate_hz)
        workflow.tokenize([folder], folder / "t", str(tiny_codec))
        (played,) = read_store(folder / "t", "train")
        assert np.array_equal(copies[f"{name}{step:+d}"].codes, played.codes)
        assert copies[f"{name}{step:+d}"].ends


def test_copies_are_of_recordings_to_train_on_clip_by_clip(recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """What is held out has none; where a silence divides a recording, it divides its copies at the same place."""
    done = transposed(recordings, tmp_path / "t", tiny_codec, 3)
    assert done.semitones == 3
    clips = {clip.id: clip for split in ("train", "dev", "test") for clip in read_store(tmp_path / "t", split)}
    held_out = {clip.id for split in ("dev", "test") for clip in read_store(tmp_path / "t", split)}
    assert held_out
    copies = read_store(tmp_path / "t", COPIES)
    assert not held_out & {clip.copy_of for clip in copies}
    for copy in copies:
        step = int(copy.id.removeprefix(copy.copy_of))
        wanted = len(clips[copy.copy_of].codes) / 2 ** (step / 12)
        assert abs(len(copy.codes) - wanted) <= 2 and copy.ends == clips[copy.copy_of].ends
    steps = {int(copy.id.removeprefix(copy.copy_of)) for copy in copies}
    assert steps == {-3, -2, -1, 1, 2, 3}
    plain = workflow.tokenize([recordings], tmp_path / "plain", str(tiny_codec))
    assert (plain.cuts, plain.hours, plain.semitones) == (done.cuts, done.hours, 0)
    assert not (tmp_path / "plain" / "cuts_transposed.jsonl.gz").exists()


def test_no_span_of_a_copy_is_empty_or_out_of_place() -> None:
    for speed in (2 ** (step / 12) for step in range(-12, 13)):
        spans = [(0, 1), (75, 76), (200, 900)]
        scaled = [scale_span(span, speed) for span in spans]
        assert all(stop > start for start, stop in scaled)
        edges = [edge for span in scaled for edge in span]
        assert edges == sorted(edges)


def test_a_name_that_is_taken_is_not_taken_twice(tiny_codec: Path, tmp_path: Path, piano: Piano) -> None:
    """A recording may be called as the copy of another one would be."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i, name in enumerate(("a", "a+1", "a+1+1", "b", "c")):
        soundfile.write(folder / f"{name}.wav", piano(2, RATE_HZ, seed=i), RATE_HZ)
    transposed(folder, tmp_path / "t", tiny_codec, 1)
    copies = read_store(tmp_path / "t", COPIES)
    assert len({clip.id for clip in copies}) == len(copies) == 2 * len(read_store(tmp_path / "t", "train"))


def test_what_was_copied_is_not_copied_again(
    recordings: Path, tiny_codec: Path, tmp_path: Path, piano: Piano, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run goes on, and -f encodes only what is new; both end with the store of a run never stopped."""
    whole, store = tmp_path / "whole", tmp_path / "t"
    transposed(recordings, whole, tiny_codec, 2)
    encoded: list[tuple[str, int]] = []
    fatal = 9

    def count(path: Path, codec: Any, decoder: Any, on_share: Any, semitones: int) -> Any:
        if len(encoded) == fatal:
            raise KeyboardInterrupt
        encoded.append((path.name, semitones))
        return encode_recording(path, codec, decoder, on_share, semitones)

    monkeypatch.setattr(workflow, "encode_recording", count)
    with pytest.raises(KeyboardInterrupt):
        transposed(recordings, store, tiny_codec, 2)
    assert any(semitones for _, semitones in encoded), "it was stopped among the copies"
    fatal = -1
    transposed(recordings, store, tiny_codec, 2)
    assert len(set(encoded)) == len(encoded)
    assert (store / "codes.h5").read_bytes() == (whole / "codes.h5").read_bytes()

    encoded.clear()
    soundfile.write(recordings / "new.wav", piano(3, RATE_HZ, seed=40), RATE_HZ)
    transposed(recordings, store, tiny_codec, 2, force=True)
    assert [name for name, semitones in encoded if not semitones] == ["new.wav"]
    before = len(encoded)
    transposed(recordings, tmp_path / "fresh", tiny_codec, 2)
    assert len(encoded) - before > before
    assert (store / "codes.h5").read_bytes() == (tmp_path / "fresh" / "codes.h5").read_bytes()


def test_what_is_held_out_later_has_no_copies_any_more(
    recordings: Path, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more recordings, another one may be held out: what was encoded of it before is not learned from."""
    store = tmp_path / "t"
    transposed(recordings, store, tiny_codec, 1)
    learned = sorted(clip.id for clip in read_store(store, "train"))
    moved = next(name for name in learned if name.startswith("piece"))

    def hold_out(hashes: Any) -> dict[str, str]:
        return {sha256: "dev" if sha256 == hash_file(recordings / f"{moved}.wav") else "train" for sha256 in hashes}

    monkeypatch.setattr(assembly, "split_hashes", hold_out)
    transposed(recordings, store, tiny_codec, 1, force=True)
    assert [clip.id for clip in read_store(store, "dev")] == [moved]
    assert moved not in {clip.copy_of for clip in read_store(store, COPIES)}


def test_another_amount_is_refused(audiolm: Any, recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    """A store says how far its copies reach, and is brought up to date with -f."""
    command = ["tokenize", recordings, "-o", tmp_path / "t", "--codec", tiny_codec]
    assert audiolm(*command).exit_code == 0
    shown = audiolm(*command, "--transpose", 2)
    assert shown.exit_code == 7
    assert "its transposed copies are missing, expected 2" in shown.stderr and "-f" in shown.stderr
    shown = audiolm(*command, "--transpose", 2, "-f", "--json")
    assert shown.exit_code == 0 and json.loads(shown.stdout)["semitones"] == 2
    plain = audiolm(*command)
    assert plain.exit_code == 7 and "copies reach 2 semitones up and down, expected none" in plain.stderr
    assert "also transposed by up to 2 semitones up and down" in shown.stderr
    assert "nothing to do" in audiolm(*command, "--transpose", 2).stderr
    assert audiolm(*command, "--transpose", 13).exit_code == 2
    with pytest.raises(UsageError, match="expected 0 to 12 semitones"):
        transposed(recordings, tmp_path / "far", tiny_codec, 13)


def test_the_first_of_several_processes_makes_the_copies(recordings: Path, tiny_codec: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    alone = transposed(recordings, tmp_path / "one", tiny_codec, 1)

    def share(rank: int) -> workflow.Tokenized:
        ranks = Ranks(rank=rank, size=2, local=rank, local_size=2)
        return transposed(recordings, tmp_path / "two", tiny_codec, 1, ranks=ranks)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(share, range(2)))
    assert [result.cuts for result in results] == [alone.cuts] * 2
    assert (tmp_path / "one" / "codes.h5").read_bytes() == (tmp_path / "two" / "codes.h5").read_bytes()


def clip(name: str, frames: int, copy_of: str = "") -> TokenClip:
    return TokenClip(id=name, codes=np.zeros((frames, 2), np.int16), copy_of=copy_of)


def test_copies_lose_what_their_originals_lose() -> None:
    """The end that is held out of a recording is not learned from its copies, and a clip left out has none."""
    whole = [clip("a", 100), clip("b", 50), clip("c", 10)]
    kept = [clip("a", 80), clip("b", 50)]
    copies = [clip("a+12", 50, "a"), clip("a-12", 200, "a"), clip("b+1", 47, "b"), clip("c+1", 9, "c")]
    cut = {copy.id: copy for copy in cut_copies(copies, whole, kept)}
    assert {name: len(copy.codes) for name, copy in cut.items()} == {"a+12": 40, "a-12": 160, "b+1": 47}
    assert [cut[name].ends for name in ("a+12", "b+1")] == [False, True]


def test_little_audio_has_many_copies_and_much_has_none() -> None:
    assert [suited_semitones(minutes) for minutes in (0, 3, 20, 60)] == [USUAL_SEMITONES] * 4
    assert [suited_semitones(minutes) for minutes in (102, 200, 400)] == [2, 1, 0]
    assert all(2 * suited_semitones(m) * m <= COPIES_MINUTES for m in range(1, 1000))
