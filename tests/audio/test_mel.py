"""Mel filters against their definition, and against another implementation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from audiolm_cli.audio import mel_filters

SHAPES = ((32, 5), (64, 10), (256, 40), (1024, 120), (2048, 160))


def hertz_to_mel(frequency_hz: np.ndarray) -> np.ndarray:
    """The scale of the HTK book, in natural logarithms as it is often written."""
    return 1127.01048 * np.log(1 + frequency_hz / 700)


@pytest.mark.parametrize(("window", "bands"), SHAPES)
def test_neighbouring_triangles_add_up_to_one(window: int, bands: int) -> None:
    """Between the first and the last centre, what one filter loses the next one gains."""
    filters = mel_filters(window, bands, 32000)
    assert filters.shape == (window // 2 + 1, bands) and filters.dtype == np.float32

    bins_mel = hertz_to_mel(np.linspace(0, 16000, window // 2 + 1))
    position = bins_mel / bins_mel[-1] * (bands + 1)  # 1 is the centre of the first filter, `bands` of the last
    between = (position >= 1) & (position <= bands)
    assert between.sum() > 3
    # The edges are straight lines over Hz, not over mel, so that two of them add up to 1 over Hz too.
    np.testing.assert_allclose(filters[between].sum(1), 1, atol=1e-5)


def test_a_unit_area() -> None:
    """Each triangle that holds many bins has an area of 1 Hz, and none reaches below the lowest frequency."""
    filters = mel_filters(65536, 20, 32000, low_hz=100.0, unit_area=True)
    np.testing.assert_allclose(filters.sum(0) * 32000 / 65536, 1, rtol=1e-2)
    assert not filters[: int(100 * 65536 / 32000)].any()


@pytest.mark.parametrize(("window", "bands"), SHAPES)
def test_they_are_those_of_torchaudio(window: int, bands: int) -> None:
    """The numbers of models and reports from before are comparable."""
    functional = pytest.importorskip("torchaudio.functional", exc_type=(ImportError, OSError))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says which filters hold no bin
        expected = functional.melscale_fbanks(window // 2 + 1, 0.0, 16000.0, bands, 32000)
    np.testing.assert_allclose(mel_filters(window, bands, 32000), expected.numpy(), atol=2e-5)
