"""`audiolm doctor`: options and display. The work is in `workflows/doctor.py`."""

from __future__ import annotations

import os

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.spread import spread
from audiolm_cli.errors import ModelError


@spread
def doctor_command(
    *,
    display: options.QuickDisplay,
    cache_dir: options.CacheDir = None,
) -> None:
    """Check this installation and say how to repair it.

    The exit code is 4 when something was found that keeps commands from working, and 0 otherwise.
    """
    from audiolm_cli.workflows.doctor import doctor

    with Renderer(**display.to_dict()) as out:
        diagnosis = doctor(cache_dir, os.environ, on_event=out.on_event)
        if out.json:
            out.print_json({"ok": not diagnosis.failed, "checks": diagnosis.checks})
        else:
            out.table(
                ("check", "status", "found"), [(check.name, check.status, check.value) for check in diagnosis.checks]
            )
            for check in diagnosis.checks:
                if check.remedy:
                    out.print(f"{check.name}: {check.remedy}")
            out.paragraph(diagnosis.verdict)
    if diagnosis.failed:
        raise typer.Exit(ModelError.exit_code)
