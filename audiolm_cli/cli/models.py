"""`audiolm models ...`: options and display. The work is in `workflows/models.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiolm_cli.cli import options
from audiolm_cli.cli.described import describe_checkpoint
from audiolm_cli.cli.render import Renderer
from audiolm_cli.cli.spread import spread
from audiolm_cli.wording import join_words

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from `audiolm models list`, or a folder's path.")]

Wanted = Annotated[
    str,
    typer.Argument(
        metavar="NAME|SOURCE",
        help="A name of `audiolm models list`, https://..., hf:owner/repo\\[/path]\\[@revision], file:... or a path.",
    ),
]
SaveAs = Annotated[str | None, options.shared("--name", metavar="NAME", help="Name of the checkpoint in the cache.")]
Sha256 = Annotated[
    str,
    options.shared(
        "--sha256", metavar="HEX", help="First digits of the file's hash; a file with another hash is refused."
    ),
]
Mirrors = Annotated[
    list[str] | None,
    options.shared("--mirror", metavar="URL", help="Another address of the same file; repeatable."),
]


Licence = Annotated[
    str,
    options.shared("--license", metavar="ID", help="Its terms, such as cc-by-4.0. Default: what its training says."),
]
Evaluation = Annotated[
    Path | None,
    options.shared("--evaluation", metavar="JSON", help="For the card: what `audiolm evaluate --json` printed of it."),
]
Zip = Annotated[str, typer.Argument(metavar="ZIP", help="The file to write.")]
Repository = Annotated[str, typer.Argument(metavar="hf:OWNER/NAME", help="The repository on Hugging Face.")]
Private = Annotated[bool, options.shared("--private", help="Show a new repository to you alone.")]


@spread
def pull_command(
    *,
    source: Wanted,
    name: SaveAs = None,
    sha256: Sha256 = "",
    mirror: Mirrors = None,
    force: options.Force = False,
    display: options.QuickDisplay,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Bring a checkpoint into the cache, resuming and checking what arrives."""
    from audiolm_cli.checkpoints import catalogue
    from audiolm_cli.cli.fetching import fetch_config
    from audiolm_cli.library.fetching import pull
    from audiolm_cli.library.sources import Fetcher

    with Renderer(**display.to_dict()) as out:
        path = pull(
            source,
            Fetcher(cache=catalogue.cache_dir(cache_dir), config=fetch_config(offline), on_event=out.on_event),
            save_as=name,
            sha256=sha256,
            mirrors=mirror or (),
            force=force,
        )
        if out.json:
            out.print_json({"name": source, "path": path})
        else:
            out.print(str(path))


@spread
def rm_command(
    *,
    name: Name,
    display: options.QuickDisplay,
    cache_dir: options.CacheDir = None,
) -> None:
    """Remove a checkpoint from the cache, and what unfinished downloads left of it."""
    from audiolm_cli.checkpoints import catalogue
    from audiolm_cli.library.fetching import remove

    with Renderer(**display.to_dict()) as out:
        path, freed = remove(name, catalogue.cache_dir(cache_dir))
        if out.json:
            out.print_json({"name": name, "path": path, "bytes": freed})
        else:
            out.print(f"removed {path}, {_size(freed)}")


@spread
def list_command(
    *,
    display: options.QuickDisplay,
    cache_dir: options.CacheDir = None,
) -> None:
    """List models and codecs: bundled, cached, and known but not here."""
    from audiolm_cli.workflows.models import list_models

    with Renderer(**display.to_dict()) as out:
        listing = list_models(cache_dir)
        if out.json:
            out.print_json({"models": listing.entries, "cache_dir": listing.cache})
            return
        rows = [
            (entry.name, entry.kind, entry.source, _size(entry.bytes), entry.licence, entry.path or "-")
            for entry in listing.entries
        ]
        columns = ("name", "kind", "source", "size", "licence", "path")
        shown = len(columns) - out.is_narrow  # `models path NAME` tells the last one
        out.table(columns[:shown], [row[:shown] for row in rows])
        for entry in listing.entries:
            if entry.problem:
                out.note(entry.problem, warning=True)


@spread
def info_command(
    *,
    name: Name,
    display: options.QuickDisplay,
    cache_dir: options.CacheDir = None,
) -> None:
    """Show the shape, codec, training, licence and hash of a checkpoint."""
    from audiolm_cli.workflows.models import describe

    with Renderer(**display.to_dict()) as out:
        facts = describe(name, cache_dir)
        if out.json:
            out.print_json(facts)
        else:
            out.table(("what", "is"), describe_checkpoint(facts))
            out.note("everything that is known of it, such as the settings of its trainings: --json")


@spread
def path_command(
    *,
    name: Name,
    display: options.QuickDisplay,
    cache_dir: options.CacheDir = None,
) -> None:
    """Print where the folder of a model or the file of a codec is."""
    from audiolm_cli.workflows.models import locate

    with Renderer(**display.to_dict()) as out:
        path = locate(name, cache_dir)
        if out.json:
            out.print_json({"name": name, "path": path})
        else:
            out.print(str(path))


@spread
def verify_command(
    *,
    name: Name,
    display: options.QuickDisplay,
    cache_dir: options.CacheDir = None,
) -> None:
    """Hash the files of a checkpoint again and compare."""
    from audiolm_cli.workflows.models import verify

    with Renderer(**display.to_dict()) as out:
        path = verify(name, cache_dir)
        if out.json:
            out.print_json({"name": name, "path": path, "verified": True})
        else:
            out.print(f"{name}: verified, {path}")


@spread
def export_command(
    *,
    name: Name,
    target: Zip,
    licence: Licence = "",
    evaluation: Evaluation = None,
    force: options.Force = False,
    display: options.QuickDisplay,
    cache_dir: options.CacheDir = None,
) -> None:
    """Write a model or codec into one file, with a card, to give it away."""
    with Renderer(**display.to_dict()) as out:
        from audiolm_cli.workflows.share import export_model

        path = export_model(
            name,
            target,
            licence=licence,
            evaluation=evaluation,
            force=force,
            cache=cache_dir,
            on_event=out.on_event,
        )
        if out.json:
            out.print_json({"name": name, "path": path})
        else:
            out.print(str(path))
            out.note(f"whoever gets it: {join_words(['audiolm', 'models', 'pull', f'file:{path.name}'])}")


@spread
def push_command(
    *,
    name: Name,
    target: Repository,
    licence: Licence = "",
    evaluation: Evaluation = None,
    private: Private = False,
    force: options.Force = False,
    display: options.QuickDisplay,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Write a model or codec into a repository on Hugging Face, with a card."""
    from audiolm_cli.cli.fetching import fetch_config

    with Renderer(**display.to_dict()) as out:
        from audiolm_cli.workflows.share import push_model

        url = push_model(
            name,
            target,
            fetch_config(offline),
            licence=licence,
            evaluation=evaluation,
            private=private,
            force=force,
            cache=cache_dir,
            on_event=out.on_event,
        )
        if out.json:
            out.print_json({"name": name, "url": url})
        else:
            out.print(url)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size else "-"
