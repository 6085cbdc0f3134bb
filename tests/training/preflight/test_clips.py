"""Which clips a training uses: the duration filter, what it reports, and epochs and seconds as steps and frames."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from audiolm_cli.config.training import TrainConfig
from audiolm_cli.data.tokens import TokenClip
from audiolm_cli.errors import DataError, UsageError
from audiolm_cli.events import Event, Note
from audiolm_cli.training.preflight import clips as training_data
from audiolm_cli.training.preflight.clips import histogram, hold_out_end, keep_clips, sized

SHIFT_S = 0.02


def clips(*durations_s: float) -> list[TokenClip]:
    return [
        TokenClip(id=str(i), codes=np.zeros((round(s / SHIFT_S), 4), dtype=np.int16)) for i, s in enumerate(durations_s)
    ]


def messages(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Note)]


def test_the_filter_keeps_its_bounds_and_says_why_others_went() -> None:
    events: list[Event] = []
    config = TrainConfig(filter_min_duration_s=5, filter_max_duration_s=15)
    kept = keep_clips(clips(4.98, 5.0, 9.0, 15.0, 15.02, 16.0), "train", config, SHIFT_S, events.append)
    assert [clip.id for clip in kept] == ["1", "2", "3"]
    first, warning = messages(events)
    assert first == "train: kept 3 of 6 clips, 0.01 h; dropped 1 shorter than 5 s, 2 longer than 15 s"
    assert "leaves 0.01 of 0.02 h" in warning and warning.count("\n") == 4, "it drops more than it keeps"


def test_without_a_filter_all_are_kept_and_counted() -> None:
    events: list[Event] = []
    assert len(keep_clips(clips(0.02, 1800, 1800), "train", TrainConfig(), SHIFT_S, events.append)) == 3
    assert messages(events) == ["train: kept 3 of 3 clips, 1.00 h; dropped none"]


def test_nothing_left_shows_the_durations_and_the_way_out() -> None:
    """The published recipe's own filter drops every clip of the published recipe."""
    config = TrainConfig(filter_min_duration_s=5, filter_max_duration_s=15)
    with pytest.raises(DataError) as caught:
        keep_clips(clips(15.5, 17.0, 19.5, 31.0), "train", config, SHIFT_S, lambda event: None)
    first, *lines = str(caught.value).splitlines()
    assert "none of the 4 training clips" in first and "4 longer than 15 s" in first
    assert first.endswith("this would keep all of them: --filter-max-duration 31")
    assert [line.split()[0] for line in lines] == ["15-20", "20-30", "30-60"]
    assert [line.split()[-1] for line in lines] == ["3", "0", "1"]
    widened = TrainConfig(filter_min_duration_s=5, filter_max_duration_s=31)
    assert len(keep_clips(clips(15.5, 17.0, 19.5, 31.0), "train", widened, SHIFT_S, lambda event: None)) == 4


def test_no_held_out_clip_left_is_no_error() -> None:
    config = TrainConfig(filter_min_duration_s=5)
    assert keep_clips(clips(1.0), "dev", config, SHIFT_S, lambda event: None) == []


def test_the_example_of_the_histogram() -> None:
    assert doctest.testmod(training_data).attempted == 1 and doctest.testmod(training_data).failed == 0
    assert histogram([5000.0]).split() == ["600", "s", "and", "more", "#" * 30, "1"]


def test_epochs_and_seconds_decide_steps_and_frames() -> None:
    config = sized(TrainConfig(num_epochs=20, max_duration_s=150), frames=30_001, frame_shift_s=SHIFT_S)
    assert (config.batch_frames, config.steps) == (7500, 81)
    assert sized(TrainConfig(), 30_000, SHIFT_S) == TrainConfig()
    assert sized(TrainConfig(num_epochs=0.001), 100, SHIFT_S).steps == 1


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"num_epochs": 0.0}, "num_epochs"),
        ({"max_duration_s": -1.0}, "max_duration_s"),
        ({"filter_min_duration_s": 5.0, "filter_max_duration_s": 4.0}, "no clip can pass"),
        ({"warmup_steps": -1}, "warmup-steps"),
        ({"optimizer": "sgd"}, "scaled-adam"),
        ({"schedule": "noam"}, "eden"),
        ({"infill_share": 1.5}, "infill_share"),
        ({"dtype": "fp16"}, "fp16"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, float], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        TrainConfig(**fields)  # type: ignore[arg-type]


def test_the_end_of_the_longest_clip_is_held_out() -> None:
    """A tenth, or a window; where that would be over a third, nothing."""
    three, window = clips(30.0, 180.0, 60.0), round(10.0 / SHIFT_S)
    kept, end = hold_out_end(three, window) or pytest.fail("180 s can spare 18")
    assert [len(clip.codes) * SHIFT_S for clip in kept] == pytest.approx([30, 162, 60])
    assert len(end.codes) * SHIFT_S == pytest.approx(18) and end.ends and not kept[1].ends and kept[0].ends
    kept, end = hold_out_end(clips(60.0), window) or pytest.fail("60 s can spare 10")
    assert len(end.codes) == window and len(kept[0].codes) * SHIFT_S == pytest.approx(50)
    assert hold_out_end(clips(29.0), window) is None
