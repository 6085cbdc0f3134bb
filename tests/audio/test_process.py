"""Decoding in another process: the same as here, whatever is wrong with a file, and a crash fails that file alone."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiolm_cli.audio import DecoderProcess, open_stream, read_audio, scan
from audiolm_cli.audio.sndfile import CutShortError
from audiolm_cli.data.files import open_audio, read_mono_clip
from audiolm_cli.errors import AudioInputError, DataError, UsageError

Piano = Callable[..., np.ndarray]


@pytest.fixture
def take(piano: Piano, tmp_path: Path) -> Path:
    """Four seconds in stereo."""
    soundfile.write(tmp_path / "take.flac", piano(4.0, 44100, channels=2), 44100)
    return tmp_path / "take.flac"


def test_the_same_as_here(take: Path) -> None:
    with DecoderProcess() as decoder:
        there, here = decoder.scan(take, 1), scan(take, 1)
        assert (there.num_samples, there.mix) == (here.num_samples, here.mix)
        np.testing.assert_array_equal(there.peaks, here.peaks)
        with decoder.open_stream(take) as stream, open_stream(take) as same:
            assert (stream.sample_rate_hz, stream.channels) == (44100, 2)
            for block, other in zip(stream.blocks, same.blocks, strict=True):
                np.testing.assert_array_equal(block, other)


@pytest.mark.parametrize("subtype", ["PCM_24", "DOUBLE", "VORBIS"])
def test_a_recording_is_the_same_as_here(piano: Piano, tmp_path: Path, subtype: str) -> None:
    """Samples in the file's own format, in several blocks, and everything else."""
    path = tmp_path / ("a.ogg" if subtype == "VORBIS" else "a.wav")
    soundfile.write(path, piano(3.0, 44100, channels=2), 44100, subtype)
    here = read_audio(path, max_duration_s=4)
    with DecoderProcess() as decoder:
        there = decoder.read_audio(path, max_duration_s=4)
        assert there.samples.dtype == here.samples.dtype
        np.testing.assert_array_equal(there.samples, here.samples)
        empty = here.samples[:0]
        assert str(dataclasses.replace(there, samples=empty)) == str(dataclasses.replace(here, samples=empty))
        with pytest.raises(AudioInputError, match="is longer than 2 s"):
            decoder.read_audio(path, max_duration_s=2)


def test_a_stream_may_be_left_before_its_end(take: Path) -> None:
    """The next one starts at its own beginning."""
    with DecoderProcess() as decoder:
        firsts = []
        for _ in range(2):
            with decoder.open_stream(take) as stream:
                firsts.append(next(stream.blocks))
        np.testing.assert_array_equal(*firsts)


def test_errors_come_back(take: Path, tmp_path: Path) -> None:
    """With their types and texts, at the start of a stream and in its middle; the process goes on."""
    take.write_bytes(take.read_bytes()[:-2000])
    with pytest.raises(AudioInputError) as expected:
        scan(take, 1)
    with DecoderProcess() as decoder:
        process = decoder.call(take, os.getpid)
        with pytest.raises(AudioInputError) as caught:
            decoder.scan(take, 1)
        assert str(caught.value) == str(expected.value)
        with decoder.open_stream(take) as stream, pytest.raises(AudioInputError, match="get a"):
            list(stream.blocks)
        with pytest.raises(AudioInputError, match="no such file"), decoder.open_stream(tmp_path / "none.wav"):
            pass
        with pytest.raises(CutShortError, match="told apart"):
            decoder.call(take, _cut_short)
        assert decoder.call(take, os.getpid) == process != os.getpid()


def _cut_short() -> None:
    raise CutShortError("told apart")


def test_a_crash_fails_one_file(take: Path, piano: Piano, tmp_path: Path, crashing_decoder: int) -> None:
    """In a scan, in a stream and in a clip; the next file is read by another process."""
    bad = tmp_path / "bad.wav"
    soundfile.write(bad, piano(1.0, crashing_decoder), crashing_decoder)
    with DecoderProcess() as decoder:
        for _ in range(2):
            with pytest.raises(AudioInputError, match=r"bad.wav: the process that decoded it crashed \(SIGSEGV\); rem"):
                decoder.scan(bad, 1)
            assert decoder.scan(take, 1).num_samples == 4 * 44100
        with decoder.open_stream(bad) as stream, pytest.raises(AudioInputError, match="SIGSEGV"):
            list(stream.blocks)
        file = decoder.call(bad, open_audio, bad)
        object.__setattr__(file, "decoder", decoder)
        with pytest.raises(DataError, match="SIGSEGV"):
            read_mono_clip(file, 0.0, 1000, 32000)
        with pytest.raises(AudioInputError, match="was killed, perhaps for want of memory"):
            decoder.call(bad, os.kill, decoder.call(bad, os.getpid), signal.SIGKILL)


def test_a_stream_is_not_cut_short_by_another_call(take: Path) -> None:
    with DecoderProcess() as decoder, decoder.open_stream(take) as stream:
        next(stream.blocks)
        decoder.scan(take, 1)
        with pytest.raises(AssertionError, match="another call"):
            next(stream.blocks)


def test_a_process_that_dies_while_idle_costs_no_file(take: Path) -> None:
    with DecoderProcess() as decoder:
        first = decoder.call(take, os.getpid)
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while decoder._process is not None and decoder._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert decoder.scan(take, 1).num_samples == 4 * 44100


def test_no_process_is_left(take: Path) -> None:
    """Neither after the context, nor after an object that was never closed, whatever it was doing."""
    with DecoderProcess() as decoder:
        processes = [decoder.call(take, os.getpid)]
    forgotten = DecoderProcess()
    processes.append(forgotten.call(take, os.getpid))
    del forgotten
    interrupted = DecoderProcess()
    processes.append(interrupted.call(take, os.getpid))
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            interrupted.call(take, time.sleep, 60)
    finally:
        signal.signal(signal.SIGALRM, previous)
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert interrupted.scan(take, 1).num_samples == 4 * 44100
    interrupted.close()


def test_what_cannot_be_started(take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("sys.executable", "/nowhere/python")
        with pytest.raises(UsageError, match=r"cannot be started \(No such file"):
            DecoderProcess().scan(take, 1)
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(UsageError, match=r"crashed \(exit code 1\) as it began; run: audiolm doctor"):
        DecoderProcess().scan(take, 1)
