"""What `audiolm doctor` finds out: what a maintainer would ask for in a bug report, each trouble with its remedy.

Opens no connection, repairs nothing, and leaves nothing behind but a note that a codec's hash was found right.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet

from audiolm_cli.checkpoints import catalogue
from audiolm_cli.checkpoints.folder import read_folder, verify_folder
from audiolm_cli.checkpoints.locks import list_holders
from audiolm_cli.errors import ModelError
from audiolm_cli.events import OnEvent, Progress, ignore
from audiolm_cli.library.sources import STAGING
from audiolm_cli.packages import (
    DISTRIBUTIONS,
    describe_failure,
    install_command,
    installed_version,
    read_requirements,
    try_import,
)
from audiolm_cli.version import __version__
from audiolm_cli.wording import counted

PYTHON = ((3, 11), (3, 15))
"""The first version that is supported, and the first that is not."""
PROCESSES = 2
"""Imports that are tried at once."""
LOW_DISK_BYTES = 1 << 30
"""Less free space than this is little."""
LOW_MEMORY_BYTES = 2 << 30
"""Less memory than this is little."""
OLD_LOCK_S = 24 * 3600.0
"""A lock of another machine that is older than this is suspected to be left over."""
PACKAGES = ("torch", "torchaudio", "encodec", "soundfile")
"""Packages with a line of their own; all others that work share one."""
VARIABLES = ("AUDIOLM_", "HF_", "TORCH", "CUDA_", "OMP_", "XDG_CACHE_HOME", "REQUESTS_CA_BUNDLE", "PYTHONPATH")
_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSWORD")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    """What it is, in a word or two."""
    status: str
    """"ok", "warn" (something is not available) or "fail" (commands will not work)."""
    value: str
    """What was found."""
    remedy: str = ""
    """What to do about it; empty when it is ok."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All checks."""

    checks: list[Finding]
    """In the order they are shown."""

    @property
    def failed(self) -> bool:
        """Whether a check failed."""
        return any(check.status == "fail" for check in self.checks)

    @property
    def verdict(self) -> str:
        """The state of the installation in one sentence."""
        broken = [check.name for check in self.checks if check.status == "fail"]
        lacking = [check.name for check in self.checks if check.status == "warn"]
        if broken:
            return f"not everything works: do what is said above about {', '.join(broken)}"
        if lacking:
            return f"audiolm works; above is advice about {', '.join(lacking)}"
        return "everything works"


def doctor(
    cache_dir: Path | None = None, environment: Mapping[str, str] | None = None, *, on_event: OnEvent = ignore
) -> Diagnosis:
    """The state of this installation.

    Args:
        cache_dir: the cache folder; None is the user's.
        environment: the process's variables; those that matter are shown, secrets by their length alone.
        on_event: told of each package that was looked at.
    """
    cache = catalogue.cache_dir(cache_dir)
    package = Path(__file__).parents[1]
    checks = [
        _check_python(),
        Finding(name="audiolm", status="ok", value=f"{__version__} in {package}"),
        *_check_packages(on_event),
    ]
    checks += [_check_ffmpeg(), *_check_variables(environment or {})]

    # Without torch there is nothing to say about devices.
    checks += _check_compute() if not any(check.status == "fail" and check.name == "torch" for check in checks) else []
    checks += [_check_memory(), _check_work_folder(), *_check_cache(cache), *_check_locks(cache)]
    checks += [*_check_downloads(cache), *_check_bundled()]
    return Diagnosis(checks=[*checks, *_check_codecs(cache)])


def _check_python() -> Finding:
    supported = PYTHON[0] <= sys.version_info[:2] < PYTHON[1]
    value = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if supported:
        return Finding(name="python", status="ok", value=value)
    return Finding(name="python", status="warn", value=value, remedy="install audiolm with Python 3.11 to 3.14")


def _check_packages(on_event: OnEvent) -> Iterator[Finding]:
    """Every package that this program asks for, as it imports in a process of its own.

    So one that crashes does not end the others' checks, and none is judged by what another one has loaded already.
    """
    ranges = read_requirements()
    names = [*PACKAGES, *sorted(set(ranges) - set(PACKAGES))]
    reasons: dict[str, str] = {}
    on_event(Progress(stage="packages", done=0, total=len(names)))  # torch takes seconds
    with ThreadPoolExecutor(PROCESSES) as pool:
        for name, reason in zip(names, pool.map(_why_not_imported, names), strict=True):
            reasons[name] = reason
            on_event(Progress(stage="packages", done=len(reasons), total=len(names)))

    # What is well and has no line of its own goes into one line together.
    fine = []
    for name in names:
        check = _judge_package(name, reasons[name], ranges.get(name, ""))
        if name == "soundfile" and check.status == "ok":
            check = dataclasses.replace(check, value=f"{check.value}, libsndfile {_libsndfile_version()}")
        if check.status == "ok" and name not in PACKAGES:
            fine.append(f"{name} {check.value}")
        else:
            yield check
    yield Finding(name="packages", status="ok", value=", ".join(fine))


def _judge_package(name: str, reason: str, wanted: str) -> Finding:
    """The check of a package that does not import for this reason (empty: it does), and that is wanted in a range."""
    version = installed_version(name)
    if not version:
        reason = "not installed"
    if reason:
        value, remedy = describe_failure(name, reason).rsplit("; ", 1)
        return Finding(name=name, status="fail", value=value, remedy=remedy)
    if not SpecifierSet(wanted).contains(version, prereleases=True):
        remedy = f"run: {install_command(name)}"
        return Finding(name=name, status="warn", value=f"{version}, where {wanted} was tested", remedy=remedy)
    return Finding(name=name, status="ok", value=version)


def _libsndfile_version() -> str:
    import soundfile

    return str(soundfile.__libsndfile_version__)


def _why_not_imported(distribution: str) -> str:
    """Why a package cannot be imported, in a line; empty when it can."""
    module = next((name for name, other in DISTRIBUTIONS.items() if other == distribution), distribution)
    code = f"import sys; sys.path[:] = {sys.path!r}; from {try_import.__module__} import try_import; "
    code += f"print(try_import({module!r}))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode < 0:
        return f"it crashes with signal {-done.returncode}"
    if done.returncode:
        return f"it ends Python with exit code {done.returncode}"
    return done.stdout.strip().rsplit("\n", 1)[-1]


def _check_variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The variables that change what audiolm does, without what must not be in a bug report."""
    shown = []
    for name, value in sorted(environment.items()):
        if not name.startswith(VARIABLES) and not name.upper().endswith("_PROXY"):
            continue
        shown.append(f"{name}={_hide_secrets(name, value)}")
    yield Finding(name="variables", status="ok", value=", ".join(shown) or "none that matter")


def _hide_secrets(name: str, value: str) -> str:
    if _SECRET.search(name):
        return f"({len(value)} characters)"
    return re.sub(r"//[^/@]*@", "//...@", value)


def _check_ffmpeg() -> Finding:
    """What reads the formats that libsndfile does not: the program comes first, as in `audio.decoding`."""
    path, version = shutil.which("ffmpeg"), installed_version("av")
    if path:
        return Finding(name="ffmpeg", status="ok", value=path)
    if version:
        return Finding(name="ffmpeg", status="ok", value=f"its libraries, by PyAV {version}")

    remedy = f"to read M4A, AAC, WMA and video files, install ffmpeg, or run: {install_command('av')}"
    return Finding(name="ffmpeg", status="warn", value="neither on PATH nor by PyAV", remedy=remedy)


def _check_compute() -> Iterator[Finding]:
    """Devices and threads, as torch sees them."""
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
            yield Finding(
                name=f"cuda:{index}", status="ok", value=f"{facts.name}, {_format_gib(facts.total_memory)}, {bf16}"
            )
    elif torch.version.cuda and shutil.which("nvidia-smi"):
        yield Finding(
            name="cuda",
            status="warn",
            value=f"torch was built for CUDA {torch.version.cuda} and finds no device",
            remedy="update the NVIDIA driver, or check CUDA_VISIBLE_DEVICES",
        )

    if torch.backends.mps.is_available():
        value = "a GPU of Apple; --device mps computes models on it, which was never tried by us; auto is the CPU"
        yield Finding(name="mps", status="ok", value=value)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    value = f"{counted(cores or 1, 'core')}, {counted(torch.get_num_threads(), 'thread')} by default"
    yield Finding(name="cpu", status="ok", value=value)


def _check_memory() -> Finding:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return Finding(name="memory", status="ok", value="unknown on this system")

    value = f"{_format_gib(total)}, {_format_gib(free)} unused"
    if total >= LOW_MEMORY_BYTES:
        return Finding(name="memory", status="ok", value=value)
    return Finding(name="memory", status="warn", value=value, remedy="close other programs, or keep to short durations")


def _check_cache(cache: Path) -> Iterator[Finding]:
    """Where checkpoints go: whether one can be written, and how large."""
    existing = next(folder for folder in (cache.absolute(), *cache.absolute().parents) if folder.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        yield Finding(name="cache", status="ok", value=str(cache))
    else:
        yield Finding(
            name="cache",
            status="fail",
            value=f"{cache} is not writable",
            remedy="make the folder yours, or choose another one with --cache-dir or AUDIOLM_CACHE_DIR",
        )

    yield _check_space("disk", existing, "in the cache", "make room, or choose another cache with --cache-dir")


def _check_work_folder() -> Finding:
    """Where results go when nothing else is said."""
    here = Path.cwd()
    if not os.access(here, os.W_OK | os.X_OK):
        return Finding(name="folder", status="warn", value=f"{here} is not writable", remedy="write elsewhere with -o")
    return _check_space("folder", here, f"in {here}", "make room, or write elsewhere with -o")


def _check_space(name: str, folder: Path, where: str, remedy: str) -> Finding:
    free = shutil.disk_usage(folder).free
    value = f"{_format_gib(free)} free {where}"
    if free >= LOW_DISK_BYTES:
        return Finding(name=name, status="ok", value=value)
    return Finding(name=name, status="warn", value=value, remedy=remedy)


def _check_locks(cache: Path) -> Iterator[Finding]:
    """Who works in the cache, and who died there or seems to have."""
    for holder in list_holders(cache):
        age_s = time.time() - holder.since
        value = f"{holder.lock.stem}: held by {holder} for {age_s / 60:.0f} minutes"
        note = holder.lock.with_suffix(".json")

        if holder.gone:
            remedy = f"that process is gone; remove {note} and {holder.lock}"
            yield Finding(name="lock", status="warn", value=value, remedy=remedy)
        elif age_s > OLD_LOCK_S:
            remedy = f"if that process no longer runs, remove {note} and {holder.lock}"
            yield Finding(name="lock", status="warn", value=value, remedy=remedy)
        else:
            yield Finding(name="lock", status="ok", value=value)


def _check_downloads(cache: Path) -> Iterator[Finding]:
    """Downloads that were broken off, which the next attempt goes on with."""
    parts = [path for pattern in ("*/.*.part", f"{STAGING}/*/.*.part") for path in cache.glob(pattern)]
    if parts:
        size = sum(path.stat().st_size for path in parts)
        value = f"{len(parts)} broken off, {size / 1e6:.1f} MB kept"
        remedy = f"run audiolm models pull again to go on, or remove {', '.join(map(str, parts[:3]))}"
        yield Finding(name="downloads", status="warn", value=value, remedy=remedy)


def _check_bundled() -> Iterator[Finding]:
    """The model and the codec of the package: here and whole."""
    reinstall = "in the folder audiolm came from, run: pip install --force-reinstall --no-deps ."
    for what, name in (("model", catalogue.BUNDLED), ("codec", catalogue.BUNDLED_CODEC)):
        path = catalogue.bundled_folders().get(name)
        if path is None:
            yield Finding(name=what, status="fail", value=f"{name} is not in the package", remedy=reinstall)
            continue

        try:
            folder = read_folder(path)
            verify_folder(folder)
        except ModelError as error:
            yield Finding(name=what, status="fail", value=str(error), remedy=reinstall)
        else:
            yield Finding(name=what, status="ok", value=f"{name}, verified, sha256 {folder.sha256[:12]}")


def _check_codecs(cache: Path) -> Iterator[Finding]:
    """The known codecs: absent is fine, damaged is not."""
    for entry in catalogue.list_models(cache):
        if entry.name not in catalogue.KNOWN_CODECS:
            continue
        if entry.path is None:
            yield Finding(name=entry.name, status="ok", value="not in the cache; needed only where --codec names it")
            continue

        try:
            yield Finding(name=entry.name, status="ok", value=str(catalogue.find_checkpoint(entry.name, cache)))
        except ModelError as error:
            remedy = f"run: audiolm models pull {entry.name}, or remove it with audiolm models rm {entry.name}"
            yield Finding(name=entry.name, status="fail", value=str(error), remedy=remedy)


def _format_gib(size: float) -> str:
    return f"{size / (1 << 30):.1f} GiB"
