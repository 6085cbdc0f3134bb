"""How many threads are chosen, on made-up computers; and that the number changes no result and outlives nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from audiolm_cli import cores as module
from audiolm_cli.codec.chunked import decode_chunked
from audiolm_cli.config.generation import SamplingConfig
from audiolm_cli.cores import LOOK_EVERY_S, TRIED_STEPS, Cores
from audiolm_cli.library.loading import load_model
from audiolm_cli.model.decode import generate
from audiolm_cli.model.geometry import Geometry
from audiolm_cli.reproducing import compute_alike


class Computer:
    """A made-up computer: what others leave of its cores while this program uses as many as it has threads."""

    def __init__(self, cores: int, busy: float = 0.0) -> None:
        self.cores, self.busy = cores, busy
        self.now, self.idle, self.used, self.looks = 0.0, 0.0, 0.0, 0

    def run(self, seconds: float, threads: int) -> None:
        """Compute; where there are more threads and busy programs than cores, all get the same share."""
        share = min(1.0, self.cores / (threads + self.busy))
        self.now += seconds
        self.used += seconds * threads * share
        self.idle += seconds * (self.cores - share * (threads + self.busy))

    def unused(self) -> float:
        """What the system would say."""
        self.looks += 1
        return self.idle

    def watched(self) -> Cores:
        """What looks at this computer."""
        return Cores(self.unused, lambda: self.used, lambda: self.now)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Give torch back its number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "busy", "threads", "free"),
    [
        (2, 0, 1, 2),
        (2, 0, 2, 2),
        (2, 2, 1, 1),
        (2, 2, 2, 1),
        (2, 1, 1, 1),
        (2, 1, 2, 1),
        (2, 0.2, 1, 2),  # a clock and a mail program
        (8, 8, 8, 4),  # one process on every core: half of them is this program's share
        (16, 1, 16, 15),
        (16, 3, 1, 8),  # no more than are wanted
    ],
)
def test_free_cores(cores: int, busy: float, threads: int, free: int) -> None:
    """A core that another program uses is not free, whatever this program did meanwhile."""
    computer = Computer(cores, busy)
    watched = computer.watched()
    computer.run(1.0, threads)
    assert watched.count_free(8 if cores == 16 and busy == 3 else cores) == free


def test_cores_are_looked_at_now_and_then() -> None:
    """Until there is something to compare with, all are free; then the count follows what others do."""
    computer = Computer(2)
    watched = computer.watched()
    assert watched.count_free(2) == 2

    computer.busy = 2
    for _ in range(10):
        computer.run(LOOK_EVERY_S / 10 + 1e-6, 2)
        watched.count_free(2)
    assert (watched.count_free(2), computer.looks) == (1, 2)

    computer.busy = 0
    computer.run(1.0, 1)
    assert watched.count_free(2) == 2


def test_products_share_the_free_cores() -> None:
    """Large products get every free core, as long as it is free; then torch has its number of threads back."""
    torch.set_num_threads(2)
    computer = Computer(2)
    with computer.watched().share() as look_again:
        assert torch.get_num_threads() == 2
        computer.busy = 2
        computer.run(1.0, 2)
        look_again()
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def count_step_threads(computer: Computer, watched: Cores, seconds: Callable[[int], float], steps: int) -> list[int]:
    """With how many threads each of some steps was computed that take so long with so many threads."""
    found = []
    with watched.step() as begin:
        for _ in range(steps):
            begin()
            found.append(torch.get_num_threads())
            computer.run(seconds(found[-1]), found[-1])
    return found


def test_steps_get_more_threads_where_they_pay() -> None:
    """Both numbers are tried, and the faster one stays; while others use the cores, it is one thread."""
    torch.set_num_threads(2)
    computer = Computer(2)
    watched = computer.watched()
    tried = [2] * TRIED_STEPS + [1] * TRIED_STEPS
    assert count_step_threads(computer, watched, lambda n: 0.008 / n, 40) == tried + [2] * (40 - len(tried))
    assert torch.get_num_threads() == 2

    computer.busy = 2
    computer.run(1.0, 1)
    assert count_step_threads(computer, watched, lambda n: 0.008 / n, 9) == [1] * 9


def test_steps_keep_to_one_thread_where_more_hardly_pay() -> None:
    """The other cores are left alone for a gain of a tenth; and on a busy computer nothing is tried."""
    torch.set_num_threads(2)
    computer = Computer(2)
    watched = computer.watched()
    found = count_step_threads(computer, watched, lambda n: 0.001 / (1.1 if n == 2 else 1), 40)
    assert set(found[2 * TRIED_STEPS :]) == {1}
    assert set(count_step_threads(computer, watched, lambda n: 0.001, 9)) == {1}

    busy = Computer(2, busy=2)
    watched = busy.watched()
    busy.run(1.0, 1)
    assert count_step_threads(busy, watched, lambda n: 0.001, 40) == [1] * 40


def test_where_the_system_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every core counts as free, as it did before they were looked at."""

    def fail(percpu: bool) -> None:
        raise PermissionError("/proc/stat")

    monkeypatch.setattr(module.psutil, "cpu_times", fail)
    watched, cores = Cores(), os.cpu_count() or 1
    time.sleep(LOOK_EVERY_S)
    assert watched.count_free(cores) == cores


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_the_number_of_threads_changes_no_result(dtype: str) -> None:
    """Codes and audio are the same bit for bit, so that a seed means the same on a busy computer."""
    loaded = load_model("piano", torch.device("cpu"), dtype)
    context = torch.randint(0, 2048, (1, 60, 9), generator=torch.Generator().manual_seed(0))

    def make(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.set_num_threads(count)
        seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        codes = generate(loaded.model, context, Geometry(60, 50), SamplingConfig(), seeds)
        wav = decode_chunked(loaded.codec, codes[:1])
        return loaded.codec.encode(wav), torch.cat([codes.flatten(), wav.flatten()])

    expected = make(1)
    for count in (2, 3):
        for one, other in zip(expected, make(count), strict=True):
            assert torch.equal(one, other), count


@pytest.mark.parametrize(("maker", "expected"), [("GenuineIntel", "AUTO,STRICT"), ("AuthenticAMD", None)])
def test_products_of_intel_are_added_up_in_one_order(
    maker: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the environment says something else; other processors do it by themselves."""
    monkeypatch.delenv("MKL_CBWR", raising=False)
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nvendor_id : {maker}\n")
    compute_alike(tmp_path / "cpuinfo")
    assert os.environ.get("MKL_CBWR") == expected
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    compute_alike(tmp_path / "cpuinfo")
    assert os.environ["MKL_CBWR"] == "AVX2"
    compute_alike(tmp_path / "nowhere")


def test_a_command_on_a_busy_computer(
    audiolm: Callable[..., object], tiny_model: Path, piano: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is known that all cores are used, everything is computed by one thread; afterwards all is as before."""
    import soundfile

    torch.set_num_threads(2)
    soundfile.write(tmp_path / "take.wav", piano(2.0), 32000)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(module, "_unused_seconds", lambda: 0.0)
    asked: list[int] = []
    set_threads = torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda count: (asked.append(count), set_threads(count)))

    audiolm("continue", tmp_path / "take.wav", "-d", 0.5, "-m", tiny_model, "-o", tmp_path / "new.wav")
    assert (tmp_path / "new.wav").exists()
    assert set(asked[::2]) == {1} and set(asked[1::2]) == {2} and torch.get_num_threads() == 2
