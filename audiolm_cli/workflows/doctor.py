"""What `audiolm doctor` finds out: versions, device, memory, cache and bundled model, each with a remedy.

Changes nothing and opens no connection.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from audiolm_cli import __version__
from audiolm_cli.checkpoints import catalogue
from audiolm_cli.checkpoints.folder import read_folder, verify_folder
from audiolm_cli.errors import ModelError

PYTHON = ((3, 11), (3, 15))
TORCH_MINOR = "2.11"
BUNDLED = "piano"
LOW_DISK_BYTES = 1 << 30
LOW_MEMORY_BYTES = 2 << 30


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


def doctor(cache_dir: Path | None = None) -> Diagnosis:
    """The state of this installation; `cache_dir` None is the user's cache folder."""
    cache = catalogue.cache_dir(cache_dir)
    checks = [_python(), Check(name="audiolm", status="ok", value=__version__), *_torch_pair()]
    checks += [_package("encodec"), _soundfile(), _ffmpeg()]
    checks += _compute() if not any(check.status == "fail" and check.name == "torch" for check in checks) else []
    return Diagnosis(checks=[*checks, _memory(), *_cache(cache), _bundled(), *_codecs(cache)])


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
            name="cache", status="fail", value=f"{cache} is not writable", remedy="choose another with --cache-dir"
        )
    free = shutil.disk_usage(existing).free
    if free >= LOW_DISK_BYTES:
        yield Check(name="disk", status="ok", value=f"{_size(free)} free in the cache")
    else:
        yield Check(name="disk", status="warn", value=f"{_size(free)} free in the cache", remedy="free some space")


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
            yield Check(name=entry.name, status="fail", value=str(error), remedy="replace the file, or remove it")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _size(size: float) -> str:
    return f"{size / (1 << 30):.1f} GiB"
