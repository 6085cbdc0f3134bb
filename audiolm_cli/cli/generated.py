"""How the result of a generating command is shown. Knows nothing about how it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiolm_cli.cli.render import Renderer
from audiolm_cli.errors import SomeInputsFailedError
from audiolm_cli.wording import counted

if TYPE_CHECKING:
    from audiolm_cli.editing.result import Generation


def show_generation(out: Renderer, result: Generation) -> None:
    """Print what was written: one JSON object, or a line per file and the time each stage took.

    Raises:
        SomeInputsFailedError: some of several inputs failed.
    """
    to_stdout = any(output.path == "-" for output in result.outputs)
    if out.json:
        out.print_json(result)
    else:
        show = out.note if to_stdout else out.print
        for output in result.outputs:
            spans = ", ".join(f"{start:.3f}-{end:.3f} s" for start, end in output.generated)
            how = f"new: {spans} of {output.duration_s:.3f} s, seed {output.seed}" if spans else "as it was"
            score = "" if output.score is None else f", {output.score:.2f} bits/frame"
            show(f"{output.path}  ({how}{score})")
    t = result.timing
    out.note(
        f"{result.model['name']} on {result.device} ({result.dtype}): load {t['load_s']:.1f} s, "
        f"encode {t['encode_s']:.1f} s, AR {t['ar_s']:.1f} s, NAR {t['nar_s']:.1f} s, decode {t['decode_s']:.1f} s, "
        f"total {t['total_s']:.1f} s"
    )
    if result.failed:
        names = ", ".join(failure.input for failure in result.failed)
        others = "and the others are done" if result.outputs else "and none is done"
        raise SomeInputsFailedError(f"{counted(len(result.failed), 'input')} failed {others}: {names}")
