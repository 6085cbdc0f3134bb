"""`audiolm evaluate --report`: a page that holds everything it shows."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from html_page import Page

from audiolm_cli.evaluation import excerpts
from audiolm_cli.evaluation.compared import Versions
from audiolm_cli.reports import page
from audiolm_cli.reports.page import render_page
from audiolm_cli.reports.past import read_past_training
from audiolm_cli.reports.tables import markdown, tables_of


def figure(value: float) -> dict[str, float]:
    """One with an interval of a tenth on each side."""
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def two_recordings(piano: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two, which are long enough to be measured on, with names that HTML would misread."""
    monkeypatch.setattr(excerpts, "CLIP_S", 1.0)
    monkeypatch.setattr(excerpts, "SHORTEST_S", 2.0)
    recordings = folder / "recordings"
    recordings.mkdir()
    for seed in range(2):
        soundfile.write(recordings / f"piece <{seed}> & more.wav", piano(2.5, seed=seed), 32000)
    return recordings


def test_the_page_holds_numbers_pictures_and_sound(
    audiolm: Any, tiny_model: Path, piano: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings, target = two_recordings(piano, tmp_path, monkeypatch), tmp_path / "report.html"
    args = ("evaluate", recordings, "-m", tiny_model, "--clips", 2, "--windows", 4, "--json")
    outcome = audiolm(*args, "--report", target)
    assert outcome.exit_code == 0, outcome.stderr
    assert f"{target}  (report: open it in a browser)" in outcome.stderr
    result = json.loads(outcome.stdout)
    found = Page(target.read_text(encoding="utf-8"))
    assert f"{result['scores']['total_bits']:.3f}" in found.text
    assert "piece <0> & more.wav from" in found.text
    kinds = [source.split(";")[0] for source in found.sources]
    assert kinds.count("data:audio/flac") == 8 and kinds.count("data:image/png") == 9  # bits, and two by four
    assert all(source.startswith("data:") for source in found.sources), "nothing is loaded from elsewhere"
    sound = next(source for source in found.sources if source.startswith("data:audio/flac"))
    wav, rate = soundfile.read(io.BytesIO(base64.b64decode(sound.split(",")[1])))
    assert (len(wav), rate) == (32_000, 32000)
    original = soundfile.read(recordings / "piece <0> & more.wav")[0]
    scale = np.abs(original).max() / 10 ** (-3 / 20)  # recordings are brought to -3 dB first
    windows = np.lib.stride_tricks.sliding_window_view(original, 50)
    assert np.abs(windows - wav[:50] * scale).max(axis=1).min() < 1e-3
    assert audiolm(*args, "--report", target).exit_code == 7
    written = target.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        shown = audiolm(*args, "--report", target, "--force")
    assert (shown.exit_code, shown.stdout) == (7, "") and "report.html: no space left" in shown.stderr
    assert target.read_bytes() == written and sorted(os.listdir(tmp_path)) == ["recordings", "report.html"]
    again = audiolm(*args, "--report", target, "--force")
    assert again.exit_code == 0 and json.loads(again.stdout) == result


def test_a_codec_alone_is_measured_as_in_its_model(
    audiolm: Any, tiny_model: Path, tiny_codec: Path, piano: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings, target = two_recordings(piano, tmp_path, monkeypatch), tmp_path / "report.html"
    common = ("evaluate", recordings, "--clips", 2, "--windows", 4, "--json")
    alone = audiolm(*common, "-m", tiny_codec, "--report", target)
    assert alone.exit_code == 0, alone.stderr
    found, within = json.loads(alone.stdout), json.loads(audiolm(*common, "-m", tiny_model).stdout)
    assert (found["model"]["kind"], within["model"]["kind"]) == ("codec", "model")
    assert found["levels"] == {"round_trip_whole": within["levels"]["round_trip_whole"]}
    assert found["codebook_perplexity"] == within["codebook_perplexity"]
    assert [found[name] for name in ("windows", "scores", "one_pass", "context", "seams")] == [None] * 5
    assert set(found["sound"]["rows"]) == {"original", "round_trip"} and found["baselines"] == []
    assert [found[name] for name in ("harmony", "repetition", "longest_match_frames")] == [{}] * 3
    shown = Page(target.read_text(encoding="utf-8"))
    assert [source.split(";")[0] for source in shown.sources].count("data:audio/flac") == 4
    mel = found["levels"]["round_trip_whole"]["mel"]
    assert f"{mel['value']:.3f} [{mel['low']:.3f},{mel['high']:.3f}]" in shown.text
    assert "needs 8 recordings; these are 2" in shown.text
    for name in ("original", "generated", "another"):
        assert -1 <= within["harmony"][name]["value"] <= 1


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [("report.pdf", 2, "ends in .html"), ("missing/report.html", 7, "missing")],
)
def test_a_page_that_cannot_be_is_refused_at_once(
    audiolm: Any, tmp_path: Path, name: str, code: int, said: str
) -> None:
    outcome = audiolm("evaluate", tmp_path / "no-recordings", "--report", tmp_path / name)
    assert outcome.exit_code == code and said in outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) == 1


def test_the_training_of_a_run_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as it was to go, beside the baselines of its own validations; after what can be heard."""
    scores = {"bits": [2.0, 3.0], "top1": [0.1, 0.1], "top10": [0.5, 0.2], "total_bits": 5.0}
    journal = tmp_path / "metrics.jsonl"
    journal.write_text("".join(json.dumps({"step": step, "validation": scores}) + "\n" for step in (5, 10)))
    (tmp_path / "train.json").write_text(json.dumps({"source": "gone", "config": {"steps": 30}}))
    own = {"name": "bigram", "bits": [3.5, 4.5], "top1": [0.1, 0.1], "top10": [0.2, 0.2]}
    (tmp_path / "baselines.json").write_text(json.dumps({"codes_sha256": "0", "baselines": [own]}))
    drawn: list[tuple[Any, ...]] = []
    draw = page.figure_of
    monkeypatch.setattr(page, "figure_of", lambda *args: drawn.append(args) or draw(*args))
    result = {
        "model": {"kind": "model", "name": "<b>", "sha256": "0"},
        "recordings": 2,
        "measured": "all 2 recordings of <in>",
        "held_out": True,
        "clips": 0,
        "windows": 2,
        "scores": {"nar_passes": 1, **scores},
        "one_pass": None,
        "baselines": [{**own, "bits": [3.0, 4.0], "total_bits": 7.0}],
        "context": {"ar_share": 1.0, "ar_bits": 0.1, "nar_share": 1.0, "nar_bits": 0.1},
        "levels": {"generated": {name: figure(0.38) for name in ("mel", "spectral", "chroma")}},
        "codebook_size": 2048,
        "codebook_perplexity": [3.0, 4.0],
        "consistency": {"3 dB quieter": [1.0, 0.5]},
        "seams": {f"{n}_{m}": figure(0.0) for n in ("original", "placed", "bare") for m in ("jump", "flux_z")},
        "sound": {
            "recordings": 9,
            "rows": {"original": 54, "round_trip": 54, "generated": 216},
            "figures": {name: figure(0.125) for name in ("original", "round_trip", "generated")},
        },
        "harmony": {name: figure(0.5) for name in ("original", "generated", "another")},
        "repetition": {name: figure(0.25) for name in ("original", "generated")},
        "longest_match_frames": {"original": 56, "generated": 125},
    }
    heard = Versions(
        name="a",
        recording="a",
        audio={"original": np.zeros(3200, np.float32)},
        distances={},
        sample_rate_hz=32000,
        seam_s=None,
    )
    with_training = Page(render_page(result, [heard], read_past_training(tmp_path)))
    without = Page(render_page(result, [], read_past_training(tmp_path / "none")))
    assert len(with_training.sources) == 4 and len(without.sources) == 1
    assert "Training" in with_training.text and "Training" not in without.text
    _, baselines, title, steps = drawn[0]
    assert (title, steps) == ("<b>: step 10 of 30, best 5.00 bits per frame (step 5)", 30)
    assert [(own.name, own.bits) for own in baselines] == [("bigram", [3.5, 4.5])]
    assert re.search(r"bigram3\.000", with_training.text) and "<b>, evaluated" in with_training.text

    drawn_page = render_page(result, [heard], read_past_training(tmp_path))
    assert drawn_page.count('<div class="scroll"><img class="drawn"') == 2, "figures are not shrunk on a phone"
    light, dark = re.findall(r":root \{([^}]*)\}", drawn_page)
    assert set(re.findall(r"--\w+(?=:)", light)) == set(re.findall(r"--\w+(?=:)", dark)), "each has its own in the dark"
    fixed = re.sub(r":root \{[^}]*\}|2px dashed #fff", "", drawn_page.split("</style>")[0])
    assert not re.search(r"#[0-9a-f]{3,6}\b", fixed), "a colour that would be the same in the dark"

    words = [with_training.text.index(text) for text in ("Measured on all 2 recordings of <in>.", "Listen", "Numbers")]
    assert words == sorted(words)
    for table in tables_of(result):
        assert table.note in with_training.text
    for cell in ("two halves of the originals540.125 [0.025,0.225]", "all generated2160.125 [0.025,0.225]"):
        assert cell in with_training.text
    for cell in ("another recording's0.500 [0.400,0.600]", "all generated0.250 [0.150,0.350]125"):
        assert cell in with_training.text
    assert "It rests on 9 recordings" in with_training.text


def test_results_of_earlier_versions_are_shown() -> None:
    """They have values without intervals, and measures that are no longer taken."""
    measures = {"mel": 0.15, "spectral": 0.05, "chroma": 0.95}
    result = {
        "model": {"kind": "model", "name": "old", "sha256": "0"},
        "recordings": 2,
        "measured": "all",
        "held_out": True,
        "clips": 2,
        "windows": 2,
        "scores": {"nar_passes": 1, "bits": [2.0], "top1": [0.1], "top10": [0.5], "total_bits": 2.0},
        "one_pass": None,
        "baselines": [],
        "context": None,
        "levels": {"round_trip_whole": measures, "generated": measures},
        "codebook_size": 2048,
        "codebook_perplexity": [3.0],
        "consistency": {},
        "seams": {f"{n}_{m}": 0.04 for n in ("original", "placed", "bare") for m in ("jump", "flux_z")},
        "unpaired": {"frechet_generated": 2.284, "key_agreement_generated": 0.1, "repetition_generated": 0.183},
    }
    shown = Page(render_page(result, [], None))
    assert "codec round trip, whole clip0.1500.0500.950" in shown.text and "continued0.0400.040" in shown.text
    assert "it carries this sound" in shown.text
    assert "| all generated | 0.150 | 0.050 | 0.950 |" in markdown(result)
