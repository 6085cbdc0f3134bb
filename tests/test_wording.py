"""Numbers and their nouns agree, in the function and in the messages that use it."""

from __future__ import annotations

import pytest

from audiolm_cli.cli.generated import show_generation
from audiolm_cli.cli.render import Renderer
from audiolm_cli.editing.result import Failure, Generation
from audiolm_cli.errors import SomeInputsFailedError
from audiolm_cli.tokenizing.recordings import check_failures
from audiolm_cli.wording import counted


@pytest.mark.parametrize(("number", "words"), [(0, "0 clips"), (1, "1 clip"), (2, "2 clips"), (1000, "1000 clips")])
def test_one_is_singular(number: int, words: str) -> None:
    """Everything else is plural."""
    assert counted(number, "clip") == words


@pytest.mark.parametrize(
    ("names", "words"),
    [(["a.wav"], "1 input failed and none is done: a.wav"), (["a", "b"], "2 inputs failed and none is done: a, b")],
)
def test_inputs_that_failed(names: list[str], words: str) -> None:
    """The last line of a generating command."""
    stages = ("load_s", "encode_s", "ar_s", "nar_s", "decode_s", "total_s")
    result = Generation(
        outputs=[],
        model={"name": "m"},
        device="cpu",
        dtype="fp32",
        version="1",
        settings={},
        timing=dict.fromkeys(stages, 0.0),
        failed=[Failure(input=name, error="why") for name in names],
    )
    with pytest.raises(SomeInputsFailedError) as raised:
        show_generation(Renderer(quiet=True), result)
    assert str(raised.value) == words


def test_recordings_that_failed() -> None:
    """The last line of `tokenize`, `evaluate` and `codec train`."""
    with pytest.raises(SomeInputsFailedError, match=r"^1 recording could not be read: a$"):
        check_failures(["a"])
    with pytest.raises(SomeInputsFailedError, match=r"^2 recordings could not be read: a; b$"):
        check_failures(["a", "b"])
