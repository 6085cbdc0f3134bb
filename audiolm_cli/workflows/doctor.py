"""What `audiolm doctor` finds out: what a maintainer would ask for in a bug report, each trouble with its remedy.

Opens no connection, repairs nothing, and leaves nothing behind but a note that a codec's hash was found right.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from audiolm_cli import __version__
from audiolm_cli.checkpoints import catalogue
from audiolm_cli.checkpoints.folder import read_folder, verify_folder
from audiolm_cli.checkpoints.locks import list_holders
from audiolm_cli.errors import ModelError
from audiolm_cli.workflows.sources import STAGING

PYTHON = ((3, 11), (3, 15))
TORCH_MINOR = "2.11"
BUNDLED = "piano"
LOW_DISK_BYTES = 1 << 30
LOW_MEMORY_BYTES = 2 << 30
OLD_LOCK_S = 24 * 3600.0
"""A lock of another machine that is older than this is suspected to be left over."""
PACKAGES = ("numpy", "lhotse", "h5py", "safetensors", "requests", "filelock", "platformdirs", "typer", "rich")
VARIABLES = ("AUDIOLM_", "HF_", "TORCH", "CUDA_", "OMP_", "XDG_CACHE_HOME", "REQUESTS_CA_BUNDLE", "PYTHONPATH")
_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSWORD")


@dataclass(frozen=True, kw_only=True)
class Check:
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

    checks: list[Check]
    """In the order they are shown."""

    @property
    def failed(self) -> bool:
        """Whether a check failed."""
        return any(check.status == "fail" for check in self.checks)


def doctor(cache_dir: Path | None = None, environment: Mapping[str, str] | None = None) -> Diagnosis:
    """The state of this installation.

    Args:
        cache_dir: the cache folder; None is the user's.
        environment: the process's variables; those that matter are shown, secrets by their length alone.
    """
    cache = catalogue.cache_dir(cache_dir)
    place = Path(__file__).parents[1]
    checks = [_python(), Check(name="audiolm", status="ok", value=f"{__version__} in {place}"), *_torch_pair()]
    checks += [_package("encodec"), _soundfile(), _packages(), _ffmpeg(), *_variables(environment or {})]
    checks += _compute() if not any(check.status == "fail" and check.name == "torch" for check in checks) else []
    checks += [_memory(), _work_folder(), *_cache(cache), *_locks(cache), *_arriving(cache), _bundled()]
    return Diagnosis(checks=[*checks, *_codecs(cache)])


def torch_pair(torch: str, torchaudio: str) -> Check:
    """Whether these two versions were made for each other, with the pip line that repairs them when not.

    >>> torch_pair("2.11.0+cpu", "2.11.0").status
    'ok'
    """
    value = f"torch {torch}, torchaudio {torchaudio}"
    if all(version.split("+")[0].split(".")[:2] == TORCH_MINOR.split(".") for version in (torch, torchaudio)):
        return Check(name="torch pair", status="ok", value=value)
    return Check(
        name="torch pair", status="fail", value=f"{value}; both must be {TORCH_MINOR}", remedy=_pip_line(torch)
    )


def _pip_line(torch: str) -> str:
    """The line that installs the pair, from the same index that `torch` came from."""
    build = torch.partition("+")[2]
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    return f'run: pip install "torch=={TORCH_MINOR}.*" "torchaudio=={TORCH_MINOR}.*"{index}'


def _python() -> Check:
    supported = PYTHON[0] <= sys.version_info[:2] < PYTHON[1]
    value = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if supported:
        return Check(name="python", status="ok", value=value)
    return Check(name="python", status="warn", value=value, remedy="install audiolm with Python 3.11 to 3.14")


def _torch_pair() -> Iterator[Check]:
    """Each of torch and torchaudio as it imports, then the two together."""
    versions = {name: _version(name) for name in ("torch", "torchaudio")}
    for name, version in versions.items():
        yield _import(name, version, _pip_line(versions["torch"]))
    if all(versions.values()):
        yield torch_pair(versions["torch"], versions["torchaudio"])


def _import(name: str, version: str, remedy: str) -> Check:
    """Whether torch or torchaudio loads; a wrong pair fails in one of three ways."""
    try:
        if name == "torch":
            import torch

            version = torch.__version__
        else:
            import torchaudio  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        return Check(name=name, status="fail", value=f"{version or 'not installed'}: {error}", remedy=remedy)
    return Check(name=name, status="ok", value=version)


def _package(name: str) -> Check:
    version = _version(name)
    if version:
        return Check(name=name, status="ok", value=version)
    return Check(name=name, status="fail", value="not installed", remedy=f"run: pip install {name}")


def _packages() -> Check:
    versions = {name: _version(name) for name in PACKAGES}
    missing = [name for name, version in versions.items() if not version]
    value = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    if not missing:
        return Check(name="packages", status="ok", value=value)
    return Check(name="packages", status="fail", value=value, remedy=f"run: pip install {' '.join(missing)}")


def _variables(environment: Mapping[str, str]) -> Iterator[Check]:
    """The variables that change what audiolm does, without what must not be in a bug report."""
    shown = []
    for name, value in sorted(environment.items()):
        if not name.startswith(VARIABLES) and not name.upper().endswith("_PROXY"):
            continue
        shown.append(f"{name}={_without_secrets(name, value)}")
    yield Check(name="variables", status="ok", value=", ".join(shown) or "none that matter")


def _without_secrets(name: str, value: str) -> str:
    if _SECRET.search(name):
        return f"({len(value)} characters)"
    return re.sub(r"//[^/@]*@", "//...@", value)


def _soundfile() -> Check:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        return Check(name="soundfile", status="fail", value=str(error), remedy="run: pip install --upgrade soundfile")
    return Check(
        name="soundfile", status="ok", value=f"{soundfile.__version__}, {soundfile.__libsndfile_version__} (libsndfile)"
    )


def _ffmpeg() -> Check:
    path = shutil.which("ffmpeg")
    if path:
        return Check(name="ffmpeg", status="ok", value=path)
    return Check(
        name="ffmpeg", status="warn", value="not on PATH", remedy="install it to read M4A, AAC, WMA and video files"
    )


def _compute() -> Iterator[Check]:
    """Devices and threads, as torch sees them."""
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
            yield Check(name=f"cuda:{index}", status="ok", value=f"{facts.name}, {_size(facts.total_memory)}, {bf16}")
    elif torch.version.cuda and shutil.which("nvidia-smi"):
        yield Check(
            name="cuda",
            status="warn",
            value=f"torch was built for CUDA {torch.version.cuda} and finds no device",
            remedy="update the NVIDIA driver, or check CUDA_VISIBLE_DEVICES",
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check(name="cpu", status="ok", value=f"{cores} cores, {torch.get_num_threads()} threads by default")


def _memory() -> Check:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return Check(name="memory", status="ok", value="unknown on this system")
    value = f"{_size(total)}, {_size(free)} unused"
    if total >= LOW_MEMORY_BYTES:
        return Check(name="memory", status="ok", value=value)
    return Check(name="memory", status="warn", value=value, remedy="close other programs; keep to short durations")


def _cache(cache: Path) -> Iterator[Check]:
    """Where checkpoints go: whether one can be written, and how large."""
    existing = next(folder for folder in (cache.absolute(), *cache.absolute().parents) if folder.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        yield Check(name="cache", status="ok", value=str(cache))
    else:
        yield Check(
            name="cache",
            status="fail",
            value=f"{cache} is not writable",
            remedy="make it yours, or choose another with --cache-dir or AUDIOLM_CACHE_DIR",
        )
    yield _space("disk", existing, "in the cache", "make room, or choose another cache with --cache-dir")


def _work_folder() -> Check:
    """Where results go when nothing else is said."""
    here = Path.cwd()
    if not os.access(here, os.W_OK | os.X_OK):
        return Check(name="folder", status="warn", value=f"{here} is not writable", remedy="write elsewhere with -o")
    return _space("folder", here, f"in {here}", "make room, or write elsewhere with -o")


def _space(name: str, folder: Path, where: str, remedy: str) -> Check:
    free = shutil.disk_usage(folder).free
    value = f"{_size(free)} free {where}"
    if free >= LOW_DISK_BYTES:
        return Check(name=name, status="ok", value=value)
    return Check(name=name, status="warn", value=value, remedy=remedy)


def _locks(cache: Path) -> Iterator[Check]:
    """Who works in the cache, and who died there or seems to have."""
    for holder in list_holders(cache):
        age_s = time.time() - holder.since
        value = f"{holder.lock.stem}: held by {holder} for {age_s / 60:.0f} minutes"
        note = holder.lock.with_suffix(".json")
        if holder.gone:
            remedy = f"that process is gone; remove {note} and {holder.lock}"
            yield Check(name="lock", status="warn", value=value, remedy=remedy)
        elif age_s > OLD_LOCK_S:
            remedy = f"when nothing runs there any more, remove {note} and {holder.lock}"
            yield Check(name="lock", status="warn", value=value, remedy=remedy)
        else:
            yield Check(name="lock", status="ok", value=value)


def _arriving(cache: Path) -> Iterator[Check]:
    """Downloads that were broken off, which the next attempt goes on with."""
    parts = [path for pattern in ("*/.*.part", f"{STAGING}/*/.*.part") for path in cache.glob(pattern)]
    if parts:
        size = sum(path.stat().st_size for path in parts)
        value = f"{len(parts)} broken off, {size / 1e6:.1f} MB kept"
        remedy = f"run audiolm models pull again to go on, or remove {', '.join(map(str, parts[:3]))}"
        yield Check(name="downloads", status="warn", value=value, remedy=remedy)


def _bundled() -> Check:
    path = catalogue.bundled_folders().get(BUNDLED)
    reinstall = "in the folder audiolm came from, run: pip install --force-reinstall --no-deps ."
    if path is None:
        return Check(name="model", status="fail", value=f"{BUNDLED} is not in the package", remedy=reinstall)
    try:
        folder = read_folder(path)
        verify_folder(folder)
    except ModelError as error:
        return Check(name="model", status="fail", value=str(error), remedy=reinstall)
    return Check(name="model", status="ok", value=f"{BUNDLED}, verified, sha256 {folder.sha256[:12]}")


def _codecs(cache: Path) -> Iterator[Check]:
    """The known codecs: absent is fine, damaged is not."""
    for entry in catalogue.list_models(cache):
        if entry.name not in catalogue.KNOWN_CODECS:
            continue
        if entry.path is None:
            yield Check(name=entry.name, status="ok", value="not in the cache; needed only where --codec names it")
            continue
        try:
            yield Check(name=entry.name, status="ok", value=str(catalogue.find_checkpoint(entry.name, cache)))
        except ModelError as error:
            remedy = f"run: audiolm models pull {entry.name}, or remove it with audiolm models rm {entry.name}"
            yield Check(name=entry.name, status="fail", value=str(error), remedy=remedy)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _size(size: float) -> str:
    return f"{size / (1 << 30):.1f} GiB"
