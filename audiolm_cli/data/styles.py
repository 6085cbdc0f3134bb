"""Labels of the recordings of a token store: from their folders, a table, or what its manifests say of them.

Knows nothing about what a label is for.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePath

from audiolm_cli.data.manifest import CodecFacts, list_cuts
from audiolm_cli.data.parts import load_inputs
from audiolm_cli.errors import DataError
from audiolm_cli.guessing import guess_path
from audiolm_cli.wording import listed

FOLDERS = "folders"
"""Says that the folders of recordings are their labels."""
FILE, LABEL = "file", "label"
"""The columns of a table."""


def read_styles(store: Path, source: str, facts: CodecFacts) -> dict[str, str]:
    """The labels of the clips of a store by their names; a clip without one is not among them.

    Args:
        store: what `audiolm tokenize` or a recipe wrote.
        source: "folders": the folder of a recording, the first one below that which all recordings share; the path of a
            table, `NAME.csv`; or the name of a field of lhotse's supervisions, their own (`speaker`) or a custom one.
        facts: those of the store.

    Raises:
        DataError: the source says nothing of the store, or contradicts itself.
    """
    if source == FOLDERS:
        return _read_folders(store)
    if _is_table(source):
        return _read_table(store, Path(source), facts)

    cuts = list_cuts(store, facts)
    labels = {cut.id: cut.fields[source] for cut in cuts if source in cut.fields}
    if not labels:
        fields = sorted({name for cut in cuts for name in cut.fields})
        raise DataError(
            f"--styles {source}: no supervision in {store} has this field; expected {FOLDERS}, a table NAME.csv, or "
            f"one of the fields there are: {', '.join(fields) or 'none'}"
        )
    return labels


def check_source(source: str) -> None:
    """Refuse a source of labels, as `read_styles` takes it, that says nothing of recordings, before they are encoded.

    Raises:
        DataError: it is a table that cannot be read, or a field of supervisions, of which recordings have none.
    """
    if _is_table(source):
        _read_rows(Path(source))
    elif source != FOLDERS:
        raise DataError(
            f"--styles {source}: recordings have no supervisions with such a field; expected {FOLDERS} or a table "
            "NAME.csv"
        )


def _is_table(source: str) -> bool:
    return PurePath(source).suffix.lower() == ".csv"


def _read_folders(store: Path) -> dict[str, str]:
    """Labels by the folders that recordings lay in when they were tokenized.

    Raises:
        DataError: the store does not say where they lay, or all lay in one folder.
    """
    clips_of = _find_recordings(store)
    if not clips_of:
        raise DataError(
            f"--styles {FOLDERS}: {store} does not say where its recordings lay; tokenize them with audiolm, or name a "
            "table NAME.csv"
        )

    root = os.path.commonpath([path.parent for path in clips_of])
    labels = {}
    for path, names in clips_of.items():
        below = path.parent.relative_to(root).parts
        labels.update(dict.fromkeys(names, below[0]) if below else {})
    if not labels:
        raise DataError(
            f"--styles {FOLDERS}: all recordings lie in {root}; give each kind a folder of its own in there"
        )
    return labels


def _read_table(store: Path, table: Path, facts: CodecFacts) -> dict[str, str]:
    """Labels by a table: a file is found by the end of its path, or by the name of its clip.

    Raises:
        DataError: the table cannot be read, or a line of it fits no recording, or several.
    """
    # Recordings by the last part of their paths. Stores of recipes have names alone.
    recordings = _find_recordings(store) or {PurePath(cut.id): (cut.id,) for cut in list_cuts(store, facts)}
    by_name: defaultdict[str, list[PurePath]] = defaultdict(list)
    for path in recordings:
        by_name[path.name].append(path)

    labels: dict[str, str] = {}
    unknown = []
    for number, file, label in _read_rows(table):
        parts = [part for part in PurePath(file).parts if part not in (".", "..", PurePath(file).anchor)]
        found = [path for path in by_name[parts[-1] if parts else ""] if list(path.parts[-len(parts) :]) == parts]
        if len(found) > 1:
            several = listed([str(path) for path in found])
            raise DataError(f"{table}: line {number}: {file} fits {several}; give more of its path")
        if not found:
            unknown.append(file)
            continue

        names = recordings[found[0]]
        if any(labels.get(name, label) != label for name in names):
            raise DataError(f"{table}: line {number}: {file} has the label {label}, and another one in a line before")
        labels.update(dict.fromkeys(names, label))

    if not labels:
        raise DataError(
            f"{table}: of the files it names, none is in {store}: {listed(unknown)}; "
            f"expected paths as {next(iter(map(str, recordings)), 'those of recordings')}"
        )
    return labels


def _read_rows(table: Path) -> Iterable[tuple[int, str, str]]:
    """(line, file, label) of each row of a table that has both.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, restval="")
            columns = rows.fieldnames or []
            if not {FILE, LABEL} <= set(columns):
                raise DataError(
                    f"{table}: expected the columns {FILE} and {LABEL} in its first line, got "
                    f"{', '.join(columns) or 'nothing':.200}"
                )
            return [
                (rows.line_num, row[FILE].strip(), row[LABEL].strip())
                for row in rows
                if row[FILE].strip() and row[LABEL].strip()
            ]
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, UnicodeDecodeError):
            reason = "it is not UTF-8; save it as that"
        else:
            reason = getattr(error, "strerror", None) or str(error)
        hint = guess_path(table) if isinstance(error, FileNotFoundError) else ""
        raise DataError(f"{table}: cannot be read ({reason}){hint}") from error


def _find_recordings(store: Path) -> dict[PurePath, tuple[str, ...]]:
    """The names of the clips of each recording by the path that it was tokenized from; none where nothing says it."""
    _, inputs = load_inputs(store) or ({}, [])
    return {PurePath(known.path): tuple(name for name, _, _ in known.clips) for known in inputs if known.clips}
