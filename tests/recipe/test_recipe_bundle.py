"""The bundled model's card: which trainings it tells, and with which commands."""

from __future__ import annotations

from typing import Any

from bundle import commands, history

from audiolm_cli.config.training import CodecTrainConfig, TrainConfig


def codec(steps: int, **given: Any) -> dict[str, Any]:
    """Facts of a codec's training."""
    config = CodecTrainConfig(steps=steps, learning_rate=1e-3, keep_codes=given.pop("keep", False))
    return {"config": config.to_dict(), **given}


def test_every_training_is_told_in_order() -> None:
    """The codes are made first, then the AudioLMs on them, then what keeps them; a start that is here by its name."""
    first = codec(1)
    second = codec(2, init="piano", started_from=first)
    third = codec(3, init="RUN", keep=True, started_from=second)
    model = {"config": TrainConfig(steps=4).to_dict(), "init": None}
    tuned = {"config": TrainConfig(steps=5, train_stage=1).to_dict(), "init": "piano", "started_from": model}
    assert [own["config"]["steps"] for own in history(third)] == [1, 2, 3]
    lines = commands(history(third), history(tuned), 6).splitlines()
    assert [word for line in lines for word in line.split() if word.isdigit() and int(word) < 6] == list("12") + list(
        "415"
    ) + ["3"]
    assert "tokenize" in lines[2] and lines[1].count("--init piano") == 1
    assert "--num-decoder-layers 6" in lines[3] and "--train-stage 1" in lines[4]
    assert "--init RUN" in lines[5] and "--keep-codes" in lines[5]


def test_codes_may_change_after_they_were_kept() -> None:
    """Then the codec that kept them comes before the tokens."""
    kept = codec(2, init="piano", keep=True, started_from=codec(1))
    lines = commands(history(codec(3, init="piano", started_from=kept)), [], 6).splitlines()
    assert "--keep-codes" in lines[1] and "tokenize" in lines[3]
