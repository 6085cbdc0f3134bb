"""`audiolm info`: options and display. The work is in `workflows/info.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.spread import spread
from audiolm_cli.wording import counted, join_words

if TYPE_CHECKING:
    from audiolm_cli.workflows.info import FileInfo

File = Annotated[str, typer.Argument(metavar="PATH", help="An audio file.")]


@spread
def info_command(file: File, *, display: options.QuickDisplay) -> None:
    """Show what an audio file holds: format, level, tempo, markers, tags, its settings."""
    with Renderer(**display.to_dict()) as out:
        from audiolm_cli.workflows.info import describe_file, suggest_again

        info = describe_file(file)
        if out.json:
            out.print_json(info)
            return
        out.table(("what", "value"), list_rows(info))
        if info.command is not None:
            out.print(f"made by: {join_words(info.command)}")
        words = suggest_again(info)
        if words is not None:
            out.hint(f"make it again: {join_words(words)}")


def list_rows(info: FileInfo) -> list[tuple[str, str]]:
    """What a file holds, a line for each thing."""
    rate_hz, level = info.sample_rate_hz, info.level
    rows = [
        ("format", f"{info.format} {info.subtype}, {counted(info.channels, 'channel')} at {rate_hz} Hz"),
        ("length", f"{info.duration_s:.3f} s, {info.num_samples} samples"),
        (
            "level",
            f"peak {_level(level.peak_db)} dBFS, true peak {_level(level.true_peak_db)} dBTP, "
            f"RMS {_level(level.rms_db)} dBFS",
        ),
    ]
    if info.tempo is not None:
        meter = f" in {info.tempo.meter}" if info.tempo.meter else ""
        rows.append(("tempo", f"{info.tempo.bpm:.10g} BPM{meter}, from {info.tempo.where}: {info.bars:.3f} bars"))
    for marker in info.markers:
        kind = "loop" if marker.loops else "marker" if marker.stop is None else "region"
        end = "" if marker.stop is None else f":{marker.stop / rate_hz:.3f}"
        rows.append((kind, f"{marker.name}  ({marker.start / rate_hz:.3f}{end} s)"))

    made = info.made or {}
    rows += [(name, text) for name, text in info.tags.items() if not (made and name == "comment")]
    for name, value in made.items():
        if name == "faults" and isinstance(value, list):
            rows.append(("stayed", f"{' and '.join(dict.fromkeys(map(str, value)))} when made again"))
        else:
            rows.append((name, str(value)))
    return rows


def _level(level_db: float | None) -> str:
    return "-inf" if level_db is None else f"{level_db:.2f}"
