"""The page of a generating command (`--page`): the original and every take to hear and to see, one below the other.

One HTML file that needs no other. Knows nothing about how takes are made.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiolm_cli.audio import Recording, mid, resample
from audiolm_cli.audio.playing import as_heard, read_stretch
from audiolm_cli.editing.embedding import PALETTE, data_url, encode_flac, encode_spectrogram, take_spectrogram
from audiolm_cli.editing.result import Output
from audiolm_cli.editing.splicing import Gap
from audiolm_cli.files import write_whole
from audiolm_cli.version import __version__
from audiolm_cli.wording import printable

CONTEXT_S = 20.0
"""Seconds of a recording on each side of what is new that the page holds."""
LONGEST_S = 120.0
"""Longer stretches are cut, so that a browser on a phone opens the page."""
HIGHEST_RATE_HZ = 48000
"""Audio of higher rates is brought down to this one: not every browser plays them."""
COLUMNS = 600
"""Columns of a waveform."""
BEFORE_SEAM_S = 2.0
"""How much before a seam the button of a take starts."""
LEAST_S = 0.001
"""An edge of what is new that is nearer to an end of the recording is no seam."""
STYLE = """
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 960px;
  margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: .5rem 0 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 0; border-top: 1px solid var(--line); padding-top: 1rem;
  overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.6rem 0 0; } h3 small { font-weight: normal; color: var(--muted); }
p { margin: .3rem 0; } .foot { margin-top: 2rem; } .muted { color: var(--muted); font-size: .88rem; }
.picture { position: relative; margin-top: .5rem; cursor: pointer; touch-action: manipulation; }
.picture svg { display: block; width: 100%; height: 64px; fill: var(--wave); }
.picture img { display: block; width: 100%; height: 112px; image-rendering: auto; }
.span { position: absolute; top: 0; bottom: 0; border: solid var(--new); border-width: 0 2px; pointer-events: none; }
.span::before { content: ""; position: absolute; inset: 0 0 112px; background: var(--new); opacity: .25; }
.span.old { border-style: dashed; } .span.old::before { opacity: .1; }
.head { position: absolute; top: 0; bottom: 0; width: 2px; left: 0; background: #e0115f; display: none;
  pointer-events: none; }
.scale { display: flex; justify-content: space-between; color: var(--muted); font-size: .78rem;
  font-variant-numeric: tabular-nums; }
.listen { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin-top: .3rem; }
audio { flex: 1 1 260px; min-width: 0; height: 40px; }
button { font: inherit; font-size: .9rem; color: inherit; background: var(--code); border: 1px solid var(--line);
  border-radius: 6px; padding: .4rem .8rem; min-height: 40px; cursor: pointer; }
code { display: block; font-size: .82rem; background: var(--code); border-radius: 6px; padding: .5rem .7rem;
  margin-top: .4rem; white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; }
"""
SCRIPT = """
for (const take of document.querySelectorAll('.take')) {
  const audio = take.querySelector('audio'), head = take.querySelector('.head');
  const picture = take.querySelector('.picture'), button = take.querySelector('button');
  const length = Number(take.dataset.seconds);
  const follow = () => {
    head.style.display = 'block';
    head.style.left = 100 * Math.min(1, audio.currentTime / length) + '%';
    if (!audio.paused) requestAnimationFrame(follow);
  };
  const playFrom = (seconds) => { audio.currentTime = seconds; audio.play(); };
  audio.addEventListener('play', () => {
    for (const other of document.querySelectorAll('audio')) if (other !== audio) other.pause();
    follow();
  });
  audio.addEventListener('seeked', follow);
  picture.addEventListener('click', (event) => {
    const box = picture.getBoundingClientRect();
    playFrom(length * (event.clientX - box.left) / box.width);
  });
  if (button) {
    button.hidden = false;
    button.addEventListener('click', () => playFrom(Number(button.dataset.from)));
  }
}
"""


@dataclass(frozen=True, kw_only=True)
class _Version:
    """The original or a take, as the page shows it."""

    title: str
    note: str
    samples: np.ndarray
    """float32 [n, 1 or 2]."""
    sample_rate_hz: int
    start_s: float
    """Where the stretch begins in its file."""
    spans: list[tuple[float, float]]
    """What is new, or in the original what is replaced, in seconds of the file."""
    is_take: bool
    command: str = ""
    """What makes it again."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate_hz

    @property
    def mono(self) -> np.ndarray:
        return mid(np.ascontiguousarray(self.samples.T))


class TakesPage:
    """A page in the making: recordings are added as they are done, and hold no more than the page shows of them."""

    def __init__(self, title: str, about: str) -> None:
        """An empty page.

        Args:
            title: its heading.
            about: what all takes have in common, in a line below it.
        """
        self._title, self._about = title, about
        self._sections: list[str] = []

    def add_recording(
        self, name: str, original: Recording, gaps: Sequence[Gap], takes: Sequence[tuple[Output, str]]
    ) -> None:
        """Add a recording and its takes, which are read back from their files.

        Args:
            name: of the recording.
            original: as it was.
            gaps: where something new went.
            takes: each with the command that makes it again.
        """
        versions = [_show_original(original, gaps)]
        versions += [_show_take(output, command) for output, command in takes]

        # One scale for all, so that what is softer looks softer.
        loudest = max(float(np.abs(version.mono).max(initial=0)) for version in versions)
        decibels = [take_spectrogram(version.mono, version.sample_rate_hz) for version in versions]
        loudest_db = max(float(own.max(initial=-100)) for own in decibels)
        shown = [
            _render_version(version, loudest, encode_spectrogram(own, loudest_db))
            for version, own in zip(versions, decibels, strict=True)
        ]
        self._sections.append(f"<h2>{html.escape(printable(name))}</h2>\n" + "\n".join(shown))

    def write(self, path: Path, *, force: bool) -> None:
        """Write the page.

        Raises:
            OutputError: the file exists and `force` is false, or it cannot be written.
        """
        write_whole(path, self.render().encode("utf-8"), force=force)

    def render(self) -> str:
        """The page's text."""
        title = html.escape(printable(self._title))
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{PALETTE}{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
            f'<p class="muted">{html.escape(self._about)} What is new is shaded. A click on a picture plays from there.'
            f"</p>\n{chr(10).join(self._sections)}\n"
            f'<p class="muted foot">audiolm {__version__}</p>\n<script>{SCRIPT}</script>\n</body></html>\n'
        )


def _show_original(original: Recording, gaps: Sequence[Gap]) -> _Version:
    """The recording near its gaps."""
    rate_hz = original.sample_rate_hz
    start_s = max(0.0, min(gap.start for gap in gaps) / rate_hz - CONTEXT_S)
    end_s = min(original.duration_s, max(gap.stop for gap in gaps) / rate_hz + CONTEXT_S, start_s + LONGEST_S)
    samples, played_hz = _make_playable(original.wav(round(start_s * rate_hz), round(end_s * rate_hz)).T, rate_hz)
    replaced = [(gap.start / rate_hz, gap.stop / rate_hz) for gap in gaps if gap.stop > gap.start]
    return _Version(
        samples=samples,
        sample_rate_hz=played_hz,
        title="Original",
        note=_describe_stretch(start_s, end_s, original.duration_s),
        start_s=start_s,
        spans=[] if len(replaced) == 1 and _is_whole(replaced[0], original.duration_s) else replaced,
        is_take=False,
    )


def _show_take(output: Output, command: str) -> _Version:
    """A take near what is new in it."""
    near = output.near_generated(CONTEXT_S)
    start_s, end_s = near[0][0], min(near[-1][1], near[0][0] + LONGEST_S)
    samples, played_hz = _make_playable(*read_stretch(output.path, start_s, end_s))
    facts = [output.path, f"seed {output.seed}", _describe_stretch(start_s, end_s, output.duration_s)]
    if output.score is not None:
        facts.append(f"{output.score:.2f} bits/frame")
    if output.faults:
        facts.append(f"stayed {' and '.join(dict.fromkeys(output.faults))} when made again")
    return _Version(
        samples=samples,
        sample_rate_hz=played_hz,
        title=f"Take {output.take}",
        note=", ".join(fact for fact in facts if fact),
        start_s=start_s,
        spans=output.generated,
        is_take=True,
        command=command,
    )


def _make_playable(samples: np.ndarray, rate_hz: int) -> tuple[np.ndarray, int]:
    """Samples [n, C] as every browser plays them, float32 [n, 1 or 2], and their rate."""
    heard = as_heard(samples)
    if rate_hz <= HIGHEST_RATE_HZ:
        return heard, rate_hz
    return resample(np.ascontiguousarray(heard.T), rate_hz, HIGHEST_RATE_HZ).T, HIGHEST_RATE_HZ


def _is_whole(span: tuple[float, float], duration_s: float) -> bool:
    return span[0] <= 0 and span[1] >= duration_s


def _describe_stretch(start_s: float, end_s: float, duration_s: float) -> str:
    """Which part of its file a stretch is; empty where it is all of it."""
    if start_s <= 0 and end_s >= duration_s - LEAST_S:
        return ""
    return f"shown from {_clock(start_s)} to {_clock(end_s)} of {_clock(duration_s)}"


def _clock(seconds: float) -> str:
    """A time as players show it.

    >>> _clock(8.5), _clock(3661)
    ('0:08.5', '61:01.0')
    """
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def _render_version(version: _Version, loudest: float, png: bytes) -> str:
    """Heading, pictures with what is new shaded, player, and the command."""
    seconds, kind = max(version.seconds, 1e-9), "" if version.is_take else " old"
    spans, places = [], []
    for start, end in version.spans:
        left, right = (min(1.0, max(0.0, (edge - version.start_s) / seconds)) for edge in (start, end))
        if right > left:
            spans.append(
                f'<div class="span{kind}" style="left:{100 * left:.3f}%;width:{100 * (right - left):.3f}%"></div>'
            )
            places.append((start, end))

    title, note = html.escape(version.title), html.escape(printable(version.note))
    what = "new" if version.is_take else "replaced"
    told = "; ".join(f"{_clock(start)} to {_clock(end)}" for start, end in places)
    middle = f"<span>{what}: {told}</span>" if places else ""
    # Where all is new there is no seam; what was put in front has it at its end.
    end_s = version.start_s + version.seconds - LEAST_S
    seams = [edge for place in places for edge in place if version.start_s + LEAST_S < edge < end_s]
    button = ""
    if version.is_take and seams:
        seam = max(0.0, seams[0] - version.start_s - BEFORE_SEAM_S)
        button = f'<button type="button" data-from="{seam:.3f}" hidden>From the seam</button>'
    sound = data_url("audio/flac", encode_flac(version.samples.clip(-1, 1), version.sample_rate_hz))
    command = f"<code>{html.escape(printable(version.command))}</code>" if version.command else ""
    return (
        f'<div class="take" data-seconds="{version.seconds:.4f}"><h3>{title} <small>{note}</small></h3>'
        f'<div class="picture">{_draw_waveform(version.mono, loudest)}'
        f'<img alt="Spectrogram: {title}" src="{data_url("image/png", png)}">'
        f'{"".join(spans)}<div class="head"></div></div>'
        f'<div class="scale"><span>{_clock(version.start_s)}</span>{middle}'
        f"<span>{_clock(version.start_s + version.seconds)}</span></div>"
        f'<div class="listen">{button}<audio controls preload="metadata" src="{sound}"></audio></div>{command}</div>'
    )


def _draw_waveform(mono: np.ndarray, loudest: float) -> str:
    """The outline of audio [n] as an SVG, from the highest and the lowest sample of each column."""
    columns = min(COLUMNS, max(1, len(mono)))
    edges = np.linspace(0, len(mono), columns + 1).astype(int)[:-1]
    scaled = mono / max(loudest, 1e-9) if len(mono) else np.zeros(1)
    high, low = np.maximum.reduceat(scaled, edges), np.minimum.reduceat(scaled, edges)
    points = [f"{x},{50 - 48 * y:.1f}" for x, y in enumerate(high)]
    points += [f"{x},{50.6 - 48 * y:.1f}" for x, y in reversed(list(enumerate(low)))]
    return (
        f'<svg viewBox="0 0 {max(1, columns - 1)} 100" preserveAspectRatio="none" role="img" aria-label="Waveform">'
        f'<polygon points="{" ".join(points)}"/></svg>'
    )
