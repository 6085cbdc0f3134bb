"""`audiolm doctor` by exit code and output; broken installations are made up."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import soxr
import torch

from audiolm_cli import packages
from audiolm_cli.checkpoints import catalogue
from audiolm_cli.checkpoints.folder import FolderFacts, write_folder
from audiolm_cli.checkpoints.locks import hold
from audiolm_cli.config.shapes import SpectralConfig
from audiolm_cli.packages import installed_version
from audiolm_cli.workflows import doctor as workflow


@pytest.fixture
def piano(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for the bundled model and codec, where the package's would be; the path of the model."""
    package = tmp_path / "package"
    paths = [
        write_folder(
            package / "assets" / name,
            FolderFacts(
                kind="codec",
                name=name,
                model=None,
                codec={"family": "spectral", "name": name, "config": SpectralConfig().to_dict()},
                training={},
            ),
            tensors={"codec.safetensors": {"a": torch.zeros(3)}},
            texts={},
        ).path
        for name in ("piano", "sound")
    ]
    monkeypatch.setattr(catalogue.resources, "files", lambda _: package)
    return paths[0]


@pytest.fixture(autouse=True)
def imports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the packages that a test names are really imported, each in a process of its own, which takes seconds."""
    names, find_reason = getattr(request, "param", ()), workflow._why_not_imported
    monkeypatch.setattr(workflow, "_why_not_imported", lambda name: find_reason(name) if name in names else "")


def checks(shown: Any) -> dict[str, dict[str, str]]:
    """The checks of a --json answer by name."""
    return {check["name"]: check for check in json.loads(shown.stdout)["checks"]}


@pytest.mark.parametrize("imports", [tuple(packages.read_requirements())], indirect=True, ids=["all packages"])
def test_a_whole_installation(audiolm: Any, piano: Path, cache: Path) -> None:
    """Exit code 0, every expected check, versions and the cache as they are."""
    shown = audiolm("doctor", "--json")
    assert shown.exit_code == 0, shown.stdout
    assert json.loads(shown.stdout)["ok"] is True
    found = checks(shown)
    expected = {
        "python",
        "audiolm",
        "torch",
        "torchaudio",
        "encodec",
        "soundfile",
        "ffmpeg",
        "cpu",
        "memory",
        "model",
        "codec",
    }
    assert expected | {"cache", "disk", "folder", "packages", "variables", "encodec-32khz"} <= set(found)
    assert found["torch"]["value"] == installed_version("torch")
    assert found["cache"]["value"] == str(cache)
    assert all(check["status"] == "ok" or check["remedy"] for check in found.values())
    table = audiolm("doctor")
    assert table.exit_code == 0
    assert all(name in table.stdout for name in found)


@pytest.mark.parametrize(("check", "name"), [("model", "piano"), ("codec", "sound")])
def test_a_damaged_bundled_folder(audiolm: Any, piano: Path, check: str, name: str) -> None:
    """A flipped bit fails the check of this folder alone, exit code 4, and the remedy is shown."""
    folder = piano.with_name(name)
    data = bytearray((folder / "codec.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "codec.safetensors").write_bytes(data)
    shown = audiolm("doctor")
    assert shown.exit_code == 4
    assert "run: pip install --force-reinstall" in shown.stdout
    found = checks(audiolm("doctor", "--json"))
    assert [one for one in ("model", "codec") if found[one]["status"] == "fail"] == [check]
    shutil.rmtree(folder)
    shown = audiolm("doctor", "--json")
    assert (shown.exit_code, checks(shown)[check]["status"]) == (4, "fail")


def test_a_cache_that_cannot_be_written(audiolm: Any, piano: Path, tmp_path: Path) -> None:
    """A file where the folder should be: failed, with the flag that moves it; and nothing is created."""
    (tmp_path / "file").write_text("")
    shown = audiolm("doctor", "--json", "--cache-dir", tmp_path / "file" / "cache")
    assert shown.exit_code == 4
    assert "--cache-dir" in checks(shown)["cache"]["remedy"]
    shown = audiolm("doctor", "--json", "--cache-dir", tmp_path / "new" / "cache")
    assert shown.exit_code == 0
    assert not (tmp_path / "new").exists()


def test_a_damaged_codec_fails(audiolm: Any, piano: Path, cache: Path) -> None:
    """Absent is fine, wrong is not."""
    assert checks(audiolm("doctor", "--json"))["encodec-32khz"]["status"] == "ok"
    (cache / "encodec-32khz").mkdir()
    (cache / "encodec-32khz" / "model.safetensors").write_bytes(b"short")
    shown = audiolm("doctor", "--json")
    assert (shown.exit_code, checks(shown)["encodec-32khz"]["status"]) == (4, "fail")


def test_missing_ffmpeg_is_a_warning(audiolm: Any, piano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only some formats need it, and PyAV does in its place."""
    monkeypatch.setattr(workflow.shutil, "which", lambda _: None)
    for version, status in (("", "warn"), ("18.1.0", "ok")):
        versions = {"av": version}
        monkeypatch.setattr(
            workflow, "installed_version", lambda name, own=versions: own.get(name, installed_version(name))
        )
        shown = audiolm("doctor", "--json")
        check = checks(shown)["ffmpeg"]
        assert (shown.exit_code, check["status"]) == (0, status)
        assert ("PyAV 18.1.0" in check["value"]) == bool(version) and ("pip install" in check["remedy"]) != bool(
            version
        )


@pytest.mark.parametrize("imports", [("torch", "torchaudio")], indirect=True)
@pytest.mark.parametrize(
    ("build", "version", "source", "value", "remedy"),
    [
        pytest.param(
            "",
            "2.99.1",
            "raise OSError('undefined symbol: torch_exception')",
            "torchaudio 2.99.1 beside torch {torch} cannot be imported (undefined symbol: torch_exception); torch",
            "--no-deps torchaudio==",
            id="too new",
        ),
        pytest.param(
            "",
            "2.8.0",
            "raise RuntimeError('PyTorch and TorchAudio were compiled with different CUDA versions.')",
            "torchaudio 2.8.0 beside torch {torch} cannot be imported (PyTorch and TorchAudio were compiled",
            "--no-deps torchaudio==",
            id="too old",
        ),
        pytest.param(
            "+cpu",
            "2.11.0",
            "raise OSError('libcudart.so.13: cannot open shared object file')",
            "torchaudio 2.11.0 beside torch {torch}+cpu cannot be imported (libcudart.so.13",
            "--index-url https://download.pytorch.org/whl/cpu torchaudio==",
            id="a CPU and a CUDA build",
        ),
    ],
)
def test_torchaudio_that_does_not_fit(
    audiolm: Any, piano: Path, make_package: Any, build: str, version: str, source: str, value: str, remedy: str
) -> None:
    """The pair that is here, the one that works, the line that brings it; and the other checks still run."""
    torch_version = installed_version("torch").partition("+")[0]
    if build:
        make_package("torch", torch_version + build, "")
    make_package("torchaudio", version, source)
    shown = audiolm("doctor", "--json")
    assert shown.exit_code == 4
    found = checks(shown)
    assert found["torchaudio"]["status"] == "fail" and remedy in found["torchaudio"]["remedy"]
    assert found["torchaudio"]["value"].startswith(value.format(torch=torch_version))
    assert (found["torch"]["status"], found["model"]["status"]) == ("ok", "ok")


@pytest.mark.parametrize("name", ["torchaudio", "encodec", "lhotse"])
def test_a_missing_package(audiolm: Any, piano: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Named, with the line that installs it in the range that was tested."""
    version = packages.installed_version
    for module in (packages, workflow):
        monkeypatch.setattr(module, "installed_version", lambda other: "" if other == name else version(other))
    shown = audiolm("doctor", "--json")
    check = checks(shown)[name]
    assert (shown.exit_code, check["status"]) == (4, "fail")
    assert "(not installed)" in check["value"]
    assert "pip install" in check["remedy"] and check["remedy"].split()[-1].strip("'").startswith(name)


def test_a_version_that_nobody_tried(audiolm: Any, piano: Path, make_package: Any) -> None:
    """It imports, so commands work; what was tested is told."""
    make_package("encodec", "0.3.0", "")
    shown = audiolm("doctor", "--json")
    check = checks(shown)["encodec"]
    assert (shown.exit_code, check["status"]) == (0, "warn")
    assert check["value"].startswith("0.3.0, where ") and "<0.2" in check["value"] and "'encodec" in check["remedy"]


@pytest.mark.parametrize("imports", [("soxr",)], indirect=True)
def test_a_package_that_crashes(audiolm: Any, piano: Path, make_package: Any) -> None:
    """It ends its own process only."""
    make_package("soxr", "1.0.0", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    sys.modules["soxr"] = soxr  # this process keeps the one that works
    shown = audiolm("doctor", "--json")
    check = checks(shown)["soxr"]
    assert (shown.exit_code, check["status"]) == (4, "fail")
    assert "it crashes with signal 11" in check["value"]


def test_variables_without_secrets(audiolm: Any, piano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What matters is shown, but for what must not be in a bug report."""
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:verysecret@proxy.example:3128")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    monkeypatch.setenv("UNRELATED", "x")
    shown = audiolm("doctor", "--json")
    value = checks(shown)["variables"]["value"]
    assert "HF_TOKEN=(13 characters)" in value and "HTTPS_PROXY=http://...@proxy.example:3128" in value
    assert "HF_ENDPOINT=https://mirror.example" in value and "AUDIOLM_OFFLINE=1" in value
    assert "verysecret" not in shown.stdout and "UNRELATED" not in value


def test_locks(audiolm: Any, piano: Path, cache: Path) -> None:
    """A holder that works is fine; one that died, or is old and elsewhere, is told with what to remove."""
    with hold(cache, "mine"):
        check = checks(audiolm("doctor", "--json"))["lock"]
        assert check["status"] == "ok" and f"held by process {os.getpid()}" in check["value"]
    assert "lock" not in checks(audiolm("doctor", "--json"))
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    note = cache / ".locks" / "mine.json"
    for host, since, words in (
        (socket.gethostname(), time.time(), "that process is gone"),
        ("another", time.time() - 3 * 24 * 3600, "if that process no longer runs"),
    ):
        note.write_text(json.dumps({"pid": child.pid, "host": host, "since": since}))
        shown = audiolm("doctor")
        assert shown.exit_code == 0
        assert words in shown.stdout and str(note) in shown.stdout and "mine.lock" in shown.stdout
    note.write_text(json.dumps({"pid": child.pid, "host": "another", "since": time.time()}))
    assert checks(audiolm("doctor", "--json"))["lock"]["status"] == "ok"


def test_broken_off_downloads(audiolm: Any, piano: Path, cache: Path) -> None:
    """What is kept of them, and how to go on or get rid of it."""
    (cache / "encodec-32khz").mkdir()
    (cache / "encodec-32khz" / ".model.safetensors.part").write_bytes(bytes(2_500_000))
    check = checks(audiolm("doctor", "--json"))["downloads"]
    assert (check["status"], check["value"]) == ("warn", "1 broken off, 2.5 MB kept")
    assert "models pull" in check["remedy"] and ".model.safetensors.part" in check["remedy"]


def test_no_space(audiolm: Any, piano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little room is a warning with the option that moves the cache, and the one that moves the results."""
    monkeypatch.setattr(workflow.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1 << 20))
    shown = audiolm("doctor", "--json")
    assert shown.exit_code == 0
    for name, option in (("disk", "--cache-dir"), ("folder", "-o")):
        check = checks(shown)[name]
        assert check["status"] == "warn" and option in check["remedy"] and "0.0 GiB free" in check["value"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(
    audiolm: Any, piano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No write access to the current folder is told with -o."""
    here = tmp_path / "here"
    here.mkdir(mode=0o555)
    monkeypatch.chdir(here)
    check = checks(audiolm("doctor", "--json"))["folder"]
    assert check["status"] == "warn" and "-o" in check["remedy"]


@pytest.mark.parametrize("there", [False, True])
def test_a_gpu_of_apple_is_told_where_there_is_one(audiolm: Any, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """With how to use it, and that nobody here has tried it."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there)
    found = checks(audiolm("doctor", "--json"))
    assert (
        ("--device mps" in found["mps"]["value"] and "never tried" in found["mps"]["value"])
        if there
        else ("mps" not in found)
    )


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        (("ok", "ok", "ok"), "everything works"),
        (("ok", "warn", "warn"), "audiolm works; above is advice about ffmpeg, cache"),
        (("fail", "warn", "fail"), "not everything works: do what is said above about torch, cache"),
    ],
)
def test_the_last_line_is_a_verdict(
    statuses: tuple[str, ...], verdict: str, audiolm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether all is well, and whose remedy is to be read where it is not."""
    found = [
        workflow.Finding(name=name, status=status, value="x", remedy="" if status == "ok" else "do y")
        for name, status in zip(("torch", "ffmpeg", "cache"), statuses, strict=True)
    ]
    monkeypatch.setattr(workflow, "doctor", lambda *given, **more: workflow.Diagnosis(checks=found))
    assert audiolm("doctor").stdout.splitlines()[-1] == verdict
