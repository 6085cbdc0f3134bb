"""Downloads from a server that misbehaves in every way it can: the file is right, or it is absent."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from download_scenarios import QUICK, run_scenario
from hostile_server import Fault, HostileServer

from audiolm_cli.checkpoints import download
from audiolm_cli.checkpoints.download import Fetched, fetch, probe_size
from audiolm_cli.checkpoints.locks import hold, list_holders, read_holder
from audiolm_cli.checkpoints.source import Wanted
from audiolm_cli.config.fetching import FetchConfig
from audiolm_cli.errors import ModelError, NetworkError, OutputError
from audiolm_cli.events import Event, Note, Progress

PATIENT = replace(QUICK, read_timeout_s=20.0)
"""For tests that count requests: a busy machine must not look like a broken server."""
DATA = random.Random(1).randbytes(300_000)


@pytest.fixture
def server() -> Iterator[HostileServer]:
    """An honest server of `DATA`, until a test gives it faults."""
    with HostileServer(DATA) as running:
        yield running


def wanted(server: HostileServer, **changes: Any) -> Wanted:
    """What that server serves, with all that can be known of it."""
    return replace(Wanted(label="file", urls=(server.url,), bytes=len(server.data), sha256=server.sha256), **changes)


def serving(*faults: Fault, data: bytes = DATA, **settings: Any) -> HostileServer:
    return HostileServer(data, faults, **settings)


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_the_file_is_right_in_the_end(seed: int, tmp_path: Path) -> None:
    """Random faults, sizes, mirrors, knowledge and left-overs; nothing else is ever under the final name."""
    result = run_scenario(seed, tmp_path)
    assert not result.wrong, result
    assert result.whole, result


def test_an_honest_download(server: HostileServer, tmp_path: Path) -> None:
    """One request, the right bytes, nothing left beside them; the second call asks nobody."""
    events: list[Event] = []
    fetched = fetch(wanted(server), tmp_path / "new" / "file.bin", PATIENT, on_event=events.append)
    assert fetched == Fetched(path=tmp_path / "new" / "file.bin", bytes=len(DATA), sha256=server.sha256, url=server.url)
    assert fetched.path.read_bytes() == DATA
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [".locks", "file.bin"]
    last = events[-1]
    assert isinstance(last, Progress)
    assert (last.stage, last.done, last.total, last.unit) == ("download file", len(DATA), len(DATA), "B")
    assert last.detail.endswith(" MB/s")
    assert fetch(wanted(server), tmp_path / "new" / "file.bin", PATIENT).url == ""
    assert len(server.seen) == 1


def test_a_drop_costs_little(tmp_path: Path) -> None:
    """After each of five drops the transfer goes on where it stopped, with If-Range; at most 1 MiB is sent again."""
    data = random.Random(2).randbytes(6 << 20)
    rng = random.Random(3)
    drops = [Fault(kind="drop", at=rng.randint(1, 1 << 20), text=how) for how in ("", "rudely", "", "", "rudely")]
    with serving(*drops, data=data) as server:
        fetch(wanted(server), tmp_path / "file.bin", PATIENT)
        assert len(server.seen) == 6
        assert server.sent - len(data) <= 5 << 20
        offsets = [int(request.headers["Range"][6:-1]) for request in server.seen[1:]]
        sent = 0
        for request, offset in zip(server.seen, offsets, strict=False):
            sent += request.sent
            assert sent - offset <= 1 << 20
            sent = offset
        assert all(request.headers["If-Range"].startswith('"') for request in server.seen[1:])
    assert (tmp_path / "file.bin").read_bytes() == data


def test_the_next_run_goes_on(tmp_path: Path) -> None:
    """What a failed run received is kept, said, and not asked for again."""
    with serving(Fault(kind="drop", at=196_608), Fault(kind="status", at=404)) as server:
        with pytest.raises(NetworkError, match=r"404.*196608 bytes are kept.*place it as"):
            fetch(wanted(server), tmp_path / "file.bin", PATIENT)
        assert not (tmp_path / "file.bin").exists()
        fetch(wanted(server), tmp_path / "file.bin", PATIENT)
        assert server.seen[-1].headers["Range"] == "bytes=196608-"
        assert server.seen[-1].sent == len(DATA) - 196_608
    assert (tmp_path / "file.bin").read_bytes() == DATA


def test_a_file_that_changed_is_fetched_anew(tmp_path: Path) -> None:
    """Without a hash, the entity tag shows that the first part is of another version."""
    with serving(Fault(kind="drop", at=100_000)) as server:
        unknown = wanted(server, sha256="")
        with pytest.raises(NetworkError):
            fetch(unknown, tmp_path / "file.bin", replace(PATIENT, attempts=1))
        server.data = DATA[::-1]
        fetch(unknown, tmp_path / "file.bin", PATIENT)
    assert (tmp_path / "file.bin").read_bytes() == DATA[::-1]


@pytest.mark.parametrize("manners", [{"tagged": False}, {"heeds_if_range": False}])
def test_a_change_nobody_announces(manners: dict[str, bool], tmp_path: Path) -> None:
    """Without a hash, a part is gone on with only when the server shows that the file is the same."""
    with serving(Fault(kind="drop", at=100_000), **manners) as server:
        unknown = wanted(server, sha256="")
        with pytest.raises(NetworkError):
            fetch(unknown, tmp_path / "file.bin", replace(PATIENT, attempts=1))
        server.data = DATA[::-1]
        fetch(unknown, tmp_path / "file.bin", PATIENT)
    assert (tmp_path / "file.bin").read_bytes() == DATA[::-1]


def test_a_file_of_another_size_is_refused_from_its_headers(tmp_path: Path) -> None:
    """One request, whose body is not read."""
    with serving(Fault(kind="long", at=0)) as server:
        with pytest.raises(NetworkError, match=f"says it has {len(DATA) + 1} bytes, expected {len(DATA)}"):
            fetch(wanted(server), tmp_path / "file.bin", PATIENT)
        assert len(server.seen) == 1


def test_a_damaged_part_costs_one_more_request(server: HostileServer, tmp_path: Path) -> None:
    """What an earlier run left may be wrong; the same address is asked once more, from the start."""
    (tmp_path / ".file.bin.part").write_bytes(b"x" * 1000)
    fetch(wanted(server), tmp_path / "file.bin", PATIENT)
    assert [request.headers.get("Range") for request in server.seen] == ["bytes=1000-", None]
    assert (tmp_path / "file.bin").read_bytes() == DATA


def test_retry_after_and_back_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits double, and are as long as the server asks at least; one that asks for too much is given up."""
    waits: list[float] = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    busy = [Fault(kind="status", at=503), Fault(kind="status", at=429, text="7"), Fault(kind="status", at=500)]
    events: list[Event] = []
    with serving(*busy) as server:
        fetch(wanted(server), tmp_path / "file.bin", replace(PATIENT, backoff_s=1.0), on_event=events.append)
    assert 1 <= waits[0] <= 1.25 and waits[1] == 7 and 4 <= waits[2] <= 5
    assert any(isinstance(event, Note) and "answered 429; trying again in 7 s" in event.message for event in events)
    with serving(Fault(kind="status", at=503, text="86400")) as server:
        with pytest.raises(NetworkError, match="answered 503 and asks to wait 86400 s"):
            fetch(wanted(server), tmp_path / "other.bin", PATIENT)
        assert len(server.seen) == 1


def test_attempts_are_counted_from_the_last_new_byte(tmp_path: Path) -> None:
    """Any number of drops is survived as long as each brings something; five in a row without a byte are not."""
    drops = [Fault(kind="drop", at=20_000) for _ in range(12)]
    with serving(*drops) as server:
        fetch(wanted(server), tmp_path / "file.bin", PATIENT)
    assert (tmp_path / "file.bin").read_bytes() == DATA
    with serving(*[Fault(kind="close") for _ in range(20)]) as server:
        with pytest.raises(NetworkError, match="5 attempts without a new byte"):
            fetch(wanted(server), tmp_path / "other.bin", PATIENT)
        assert len(server.seen) == 5
    assert not list(tmp_path.glob(".other*"))


def test_a_mirror_takes_over(tmp_path: Path) -> None:
    """What the first address gave is kept; the second one sends the rest, unconditionally."""
    with serving(Fault(kind="drop", at=147_456), *[Fault(kind="close")] * 9) as first, serving() as second:
        fetched = fetch(wanted(first, urls=(first.url, second.url)), tmp_path / "file.bin", PATIENT)
        assert fetched.url == second.url
        assert second.seen[0].headers["Range"] == "bytes=147456-"
        assert "If-Range" not in second.seen[0].headers
    assert (tmp_path / "file.bin").read_bytes() == DATA


def test_wrong_contents_name_both_hashes(tmp_path: Path) -> None:
    """A file of the right length and other contents is refused, with what it is and what it should be."""
    flips = [Fault(kind="flip", at=5)] * 3
    with serving(*flips) as server:
        wrong = bytearray(DATA)
        wrong[5] ^= 1 << 5
        with pytest.raises(NetworkError) as caught:
            fetch(wanted(server), tmp_path / "file.bin", PATIENT)
        assert len(server.seen) == 1  # the same again would be of no use
    assert hashlib.sha256(wrong).hexdigest() in str(caught.value) and server.sha256 in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if path.name != ".locks"]


def test_a_published_prefix_is_enough(server: HostileServer, tmp_path: Path) -> None:
    """Eight digits of the hash and no size; the whole hash is in the answer."""
    known = wanted(server, bytes=None, sha256=server.sha256[:8].upper())
    assert fetch(known, tmp_path / "file.bin", PATIENT).sha256 == server.sha256
    with pytest.raises(NetworkError, match="expected 00000000"):
        fetch(wanted(server, bytes=None, sha256="00000000"), tmp_path / "other.bin", PATIENT)


def test_without_hash_and_length_nothing_is_believed(tmp_path: Path) -> None:
    """A body that ends where the connection does may be a part of the file."""
    with (
        serving(Fault(kind="no_length")) as server,
        pytest.raises(NetworkError, match="does not say how long it is; give its --sha256"),
    ):
        fetch(wanted(server, bytes=None, sha256=""), tmp_path / "file.bin", PATIENT)


def test_a_body_longer_than_the_file_is_not_stored(tmp_path: Path) -> None:
    """An endless body ends at the size that is known."""
    with (
        serving(Fault(kind="chunked_long", at=5 << 20)) as server,
        pytest.raises(NetworkError, match=f"sends more than {len(DATA)} bytes"),
    ):
        fetch(wanted(server), tmp_path / "file.bin", PATIENT)
    assert not list(tmp_path.glob(".file*"))


def test_redirects(tmp_path: Path) -> None:
    """Followed, but not for ever and not to other protocols."""
    with serving(Fault(kind="redirect", text="/elsewhere"), Fault(kind="redirect", at=307)) as server:
        fetch(wanted(server), tmp_path / "file.bin", PATIENT)
        assert [request.path for request in server.seen] == ["/file.bin", "/elsewhere", "/elsewhere"]
    for fault, told in (
        (Fault(kind="redirect"), "redirects more than 10 times"),
        (Fault(kind="redirect", text="file:///etc/passwd"), "is no https address"),
        (Fault(kind="redirect", text="http://me:secret@127.0.0.1/"), "user or password"),
    ):
        with serving(*[fault] * 20) as server, pytest.raises(NetworkError, match=told):
            fetch(wanted(server), tmp_path / "other.bin", PATIENT)


def test_a_token_stays_with_its_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent to the endpoint, not to the host it redirects to, and no .netrc is read for anybody."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serving() as store, serving(Fault(kind="redirect", text=store.url)) as hub:
        config = replace(PATIENT, endpoint=hub.address, token="hf_x")
        fetch(wanted(hub), tmp_path / "file.bin", config)
        assert hub.seen[0].headers["Authorization"] == "Bearer hf_x"
        assert "Authorization" not in store.seen[0].headers
    assert "hf_x" not in repr(config)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.org/file", "only when --sha256"),
        ("https://me:secret@example.org/file", "user or password"),
        ("ftp://example.org/file", "no https address"),
        ("https:///file", "no https address"),
        ("https://example.org:x/", "is no address"),
    ],
)
def test_addresses_that_are_not_asked(url: str, told: str, tmp_path: Path) -> None:
    """Refused before any connection."""
    with pytest.raises(NetworkError, match=told):
        fetch(Wanted(label="file", urls=(url,), bytes=3), tmp_path / "file.bin", PATIENT)


def test_offline_opens_no_connection(server: HostileServer, tmp_path: Path) -> None:
    """The error says what to put where; a file that is there is used."""
    config = FetchConfig(offline=True)
    with pytest.raises(NetworkError) as caught:
        fetch(wanted(server), tmp_path / "file.bin", config)
    for part in (server.url, f"{len(DATA)} bytes", server.sha256, str(tmp_path / "file.bin")):
        assert part in str(caught.value)
    assert not server.seen and not list(tmp_path.iterdir())
    (tmp_path / "file.bin").write_bytes(DATA)
    assert fetch(wanted(server), tmp_path / "file.bin", config).sha256 == server.sha256


def test_a_wrong_file_under_the_name_is_replaced(server: HostileServer, tmp_path: Path) -> None:
    """One that was truncated by hand, for instance."""
    (tmp_path / "file.bin").write_bytes(DATA[:-1])
    fetch(wanted(server), tmp_path / "file.bin", PATIENT)
    assert (tmp_path / "file.bin").read_bytes() == DATA


def test_a_folder_that_cannot_be_written_is_read(server: HostileServer, tmp_path: Path) -> None:
    """Where the file is whole nothing is written, not even a lock; else the error names the folder."""
    (tmp_path / "file.bin").write_bytes(DATA)
    fetch(wanted(server), tmp_path / "file.bin", PATIENT)
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]
    (tmp_path / "no-folder").write_text("")
    with pytest.raises(OutputError, match="no-folder"):
        fetch(wanted(server), tmp_path / "no-folder" / "file.bin", PATIENT)


def test_space_is_checked_first(server: HostileServer, tmp_path: Path) -> None:
    """Nothing is transferred when it would not fit."""
    with pytest.raises(OutputError, match=r"needs \d+ MB more than is free.*--cache-dir"):
        fetch(wanted(server), tmp_path / "file.bin", replace(PATIENT, spare_bytes=1 << 60))
    assert server.sent < 1 << 20
    assert not list(tmp_path.glob(".file*"))


def test_a_full_disk_keeps_what_arrived(server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC in the middle: an error of its own, and the next run goes on."""
    write = download._PartialFile.write

    def full(part: Any, block: bytes) -> None:
        if part.size >= 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(part, block)

    with monkeypatch.context() as patch:
        patch.setattr(download._PartialFile, "write", full)
        with pytest.raises(OutputError, match=r"the disk is full; 114688 bytes are kept"):
            fetch(wanted(server), tmp_path / "file.bin", PATIENT)
    assert not (tmp_path / "file.bin").exists()
    fetch(wanted(server), tmp_path / "file.bin", PATIENT)
    assert server.seen[-1].headers["Range"] == "bytes=114688-"
    assert (tmp_path / "file.bin").read_bytes() == DATA


def test_what_is_on_the_disk_is_what_counts(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that writes into the same part, where locks do not work, is noticed before the rename."""
    sync = download._PartialFile.sync

    def meddled(part: Any) -> None:
        sync(part)
        with part.path.open("r+b") as stream:
            stream.write(b"x")

    monkeypatch.setattr(download._PartialFile, "sync", meddled)
    with pytest.raises(NetworkError, match="the disk holds something other"):
        fetch(wanted(server), tmp_path / "file.bin", PATIENT)
    assert not (tmp_path / "file.bin").exists()


def test_the_size_is_asked_for(server: HostileServer) -> None:
    """From the headers alone; an address that refuses says so, one that cannot be reached says nothing."""
    assert probe_size(server.url, PATIENT) == len(DATA)
    assert server.sent < len(DATA) + 1
    with serving(Fault(kind="status", at=404)) as other, pytest.raises(NetworkError, match="404"):
        probe_size(other.url, PATIENT)
    with serving(Fault(kind="close")) as other:
        assert probe_size(other.url, PATIENT) is None


def _fetch_in_child(known: Wanted, target: Path, barrier: Any = None) -> None:
    if barrier is not None:
        barrier.wait()
    fetch(known, target, replace(PATIENT, read_timeout_s=10.0))


def test_many_processes_make_one_transfer(tmp_path: Path) -> None:
    """20 at once: one downloads, the others wait and find the file."""
    fork = multiprocessing.get_context("fork")
    with serving(pause_s=0.02, piece_bytes=1 << 15) as server:
        barrier = fork.Barrier(20)
        children = [
            fork.Process(target=_fetch_in_child, args=(wanted(server), tmp_path / "file.bin", barrier))
            for _ in range(20)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(30)
        assert [child.exitcode for child in children] == [0] * 20
        assert (len(server.seen), server.sent) == (1, len(DATA))
    assert (tmp_path / "file.bin").read_bytes() == DATA


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.08, 0.15])
def test_a_killed_download_is_gone_on_with(after_s: float, tmp_path: Path) -> None:
    """SIGKILL at any moment: no wrong file, no lock in the way, and what had arrived is not sent again."""
    fork = multiprocessing.get_context("fork")
    target = tmp_path / "file.bin"
    with serving(pause_s=0.02, piece_bytes=1 << 15) as server:
        child = fork.Process(target=_fetch_in_child, args=(wanted(server), target))
        child.start()
        while after_s and not server.seen and child.is_alive():
            time.sleep(0.001)
        time.sleep(after_s)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        assert not target.exists() or target.read_bytes() == DATA
        part = target.with_name(".file.bin.part")
        kept = part.stat().st_size if part.exists() else 0
        server.pause_s = 0.0
        already = target.exists()
        fetch(wanted(server), target, PATIENT)
        assert already or server.seen[-1].headers.get("Range") == (f"bytes={kept}-" if kept else None)
    assert target.read_bytes() == DATA


def test_who_holds_a_lock(tmp_path: Path) -> None:
    """The holder is named to whoever waits or does not want to, and a dead one is told from a living one."""
    with hold(tmp_path, "model"):
        holder = read_holder(tmp_path / ".locks" / "model.lock")
        assert holder is not None and holder.pid == os.getpid() and not holder.gone
        assert list_holders(tmp_path) == [holder]
        with (
            pytest.raises(ModelError, match=rf"model is in use by process {os.getpid()} on "),
            hold(tmp_path, "model", wait=False),
        ):
            pass
    assert list_holders(tmp_path) == []
    child = multiprocessing.get_context("fork").Process(target=os._exit, args=(0,))
    child.start()
    child.join()
    note = tmp_path / ".locks" / "model.json"
    note.write_text(json.dumps({"pid": child.pid, "host": os.uname().nodename, "since": 0}))
    assert [holder.gone for holder in list_holders(tmp_path)] == [True]
    note.write_text(json.dumps({"pid": child.pid, "host": "another", "since": 0}))
    assert [holder.gone for holder in list_holders(tmp_path)] == [False]
    note.write_text("[")
    assert list_holders(tmp_path) == []
