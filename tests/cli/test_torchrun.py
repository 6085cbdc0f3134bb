"""What a command takes from `torchrun`: which process it is, and who of several fetches what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiolm_cli.cli.fetching import fetch_missing
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.torchrun import torchrun_ranks
from audiolm_cli.distributed import ALONE, Ranks
from audiolm_cli.errors import UsageError
from audiolm_cli.events import Progress
from audiolm_cli.library import fetching

VARIABLES = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of torchrun's."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("order", [list(VARIABLES), list(VARIABLES)[::-1]])
def test_only_all_variables_together_make_several_processes(monkeypatch: pytest.MonkeyPatch, order: list[str]) -> None:
    """A scheduler sets some of them, too, and means other things by them."""
    for name in order:
        assert torchrun_ranks() == ALONE
        monkeypatch.setenv(name, VARIABLES[name])
    assert torchrun_ranks() == Ranks(rank=3, size=4, local=1, local_size=2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("RANK", "4"), ("RANK", "first"), ("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "2"), ("RANK", "-1")],
)
def test_variables_that_make_no_sense(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    for variable, usual in VARIABLES.items():
        monkeypatch.setenv(variable, usual)
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"{name}={value}"):
        torchrun_ranks()


def test_one_process_of_a_machine_fetches(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others wait until it is there; the first of all asks, once."""
    fetched: list[int] = []
    asked: list[int] = []
    here = iter([False, False, True])
    monkeypatch.setattr(fetching, "POLL_S", 0.0)
    monkeypatch.setattr(fetching, "_are_here", lambda names, cache: next(here))
    monkeypatch.delenv("AUDIOLM_OFFLINE")

    for ranks in (
        Ranks(rank=0, size=4, local=0, local_size=2),
        Ranks(rank=1, size=4, local=1, local_size=2),
        Ranks(rank=2, size=4, local=0, local_size=2),
    ):

        def fake(
            names: object, cache: Path, config: object, confirm: object, on_event: object, own: Ranks = ranks
        ) -> None:
            fetched.append(own.rank)
            assert callable(confirm) and callable(on_event)
            if confirm(None):
                on_event(Progress(stage="download", done=1, total=2))

        def ask(out: Renderer, offer: object, own: Ranks = ranks) -> bool:
            asked.append(own.rank)
            return True

        monkeypatch.setattr(fetching, "fetch_missing", fake)
        monkeypatch.setattr("audiolm_cli.cli.fetching._confirm", ask)
        with Renderer(quiet=not ranks.main, clock=iter(range(0, 1000, 100)).__next__) as out:
            fetch_missing(out, cache, False, "encodec-32khz", ranks=ranks)
    assert (fetched, asked, list(here)) == ([0, 2], [0], [])
    assert capsys.readouterr().err.count("download: 1/2") == 1


def test_what_is_here(cache: Path, tiny_model: Path) -> None:
    """Nothing is waited for that nobody fetches."""
    assert fetching._are_here((None, "piano", str(tiny_model), "no such thing", "encodec-48khz"), cache)
    assert not fetching._are_here(("encodec-32khz",), cache)
    assert not fetching._are_here(("hf:someone/model",), cache)
