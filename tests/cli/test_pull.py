"""`audiolm models pull` and `rm`, and what commands fetch by themselves, against a server of this process."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_server import Fault, HostileServer
from terminal import Terminal

from audiolm_cli.checkpoints.catalogue import KNOWN_CODECS, KnownCodec
from audiolm_cli.checkpoints.folder import read_folder
from audiolm_cli.checkpoints.locks import hold
from audiolm_cli.cli.app import COMMANDS
from audiolm_cli.cli.generated import generating
from audiolm_cli.codec import encodec_shape
from audiolm_cli.codec.encodec import EncodecCodec
from audiolm_cli.codec.encodec_shape import EncodecConfig

SMALL = EncodecConfig(name="small-codec", num_filters=4, dimension=8, codebook_size=16)


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests may open connections, to this machine."""
    monkeypatch.delenv("AUDIOLM_OFFLINE")


@pytest.fixture(scope="module")
def weights() -> bytes:
    """A file of weights of a small EnCodec."""
    import safetensors.torch

    return safetensors.torch.save(EncodecCodec.untrained(SMALL).state())


@pytest.fixture
def server(weights: bytes) -> Iterator[HostileServer]:
    with HostileServer(weights) as running:
        yield running


@pytest.fixture
def known(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> KnownCodec:
    """A catalogued codec that this server has."""
    codec = KnownCodec(
        name="small-codec",
        family="encodec",
        filename="w.safetensors",
        url=f"{server.address}/w.safetensors",
        bytes=len(server.data),
        sha256=server.sha256,
        licence="CC0",
    )
    monkeypatch.setitem(KNOWN_CODECS, codec.name, codec)
    monkeypatch.setitem(encodec_shape.PUBLISHED, codec.name, SMALL)
    return codec


@pytest.fixture
def hub(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    """A Hugging Face server with one model in one repository."""
    files = {f"/me/tiny/resolve/main/{path.name}": path.read_bytes() for path in tiny_model.iterdir()}
    with HostileServer(b"", files=files, only_files=True) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


def test_pull_a_known_codec(audiolm: Any, known: KnownCodec, server: HostileServer, cache: Path) -> None:
    """Size and licence first, then the file; the path alone on stdout; the second time nobody is asked."""
    path = cache / "small-codec" / "w.safetensors"
    shown = audiolm("models", "pull", "small-codec")
    assert (shown.exit_code, shown.stdout) == (0, f"{path}\n")
    assert f"small-codec, {known.bytes / 1e6:.1f} MB from 127.0.0.1, licence: CC0" in shown.stderr
    assert path.read_bytes() == server.data
    shown = audiolm("models", "pull", "small-codec", "--json")
    assert json.loads(shown.stdout) == {"name": "small-codec", "path": str(path)}
    assert len(server.seen) == 1
    assert audiolm("models", "verify", "small-codec").exit_code == 0
    row = next(line for line in audiolm("models", "list").stdout.splitlines() if line.startswith("small-codec"))
    assert " cached " in row


def test_a_damaged_codec_is_fetched_again(audiolm: Any, known: KnownCodec, server: HostileServer, cache: Path) -> None:
    """What is in its place is replaced once the whole file is here."""
    path = cache / "small-codec" / "w.safetensors"
    path.parent.mkdir()
    path.write_bytes(server.data[:-1] + b"!")
    assert audiolm("models", "verify", "small-codec").exit_code == 4
    assert audiolm("models", "pull", "small-codec").exit_code == 0
    assert audiolm("models", "verify", "small-codec").exit_code == 0


def test_a_server_with_another_file(audiolm: Any, known: KnownCodec, server: HostileServer, cache: Path) -> None:
    """Exit code 5, both hashes, nothing under the final name; a mirror that has the right one helps."""
    right, server.data = server.data, server.data[:-1] + b"!"
    shown = audiolm("models", "pull", "small-codec")
    assert shown.exit_code == 5
    assert known.sha256 in shown.stderr and server.sha256 in shown.stderr
    assert not (cache / "small-codec" / "w.safetensors").exists()
    with HostileServer(right) as mirror:
        assert audiolm("models", "pull", "small-codec", "--mirror", mirror.url).exit_code == 0


def test_offline(audiolm: Any, known: KnownCodec, server: HostileServer, cache: Path, tmp_path: Path) -> None:
    """Every way to say it: no connection, exit code 5, and path, address and hash to place the file by hand."""
    path = str(cache / "small-codec" / "w.safetensors")
    tokenize = ("tokenize", tmp_path, "-o", tmp_path / "t", "--codec", "small-codec")
    for command in (("models", "pull", "small-codec"), tokenize):
        shown = audiolm(*command, "--offline")
        assert shown.exit_code == 5
        for part in (path, known.url, known.sha256, f"{known.bytes} bytes", "offline"):
            assert part in shown.stderr
    assert "--codec sound" in shown.stderr
    for name in ("AUDIOLM_OFFLINE", "HF_HUB_OFFLINE"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, "1")
            assert audiolm("models", "pull", "small-codec").exit_code == 5
    shown = audiolm("models", "pull", "hf:me/tiny", "--offline")
    assert shown.exit_code == 5 and "https://huggingface.co/me/tiny/resolve/main" in shown.stderr
    for address in (f"{server.address}/me/tiny", f"{server.address}/me/w.safetensors"):
        for command in (("models", "pull", address), ("tokenize", tmp_path, "-o", tmp_path / "t", "--codec", address)):
            shown = audiolm(*command, "--offline")
            assert shown.exit_code == 5 and address in shown.stderr and "offline" in shown.stderr
    assert not server.seen  # nobody was even asked how large the file is


@pytest.mark.parametrize("where", ["hub", "torch"])
def test_the_copy_of_another_program(
    where: str, audiolm: Any, known: KnownCodec, server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the cache of Hugging Face or torch hub is used where it is, once its hash was found to be right."""
    url = "https://huggingface.co/f/enc/resolve/abc/w.safetensors"
    monkeypatch.setitem(KNOWN_CODECS, known.name, KnownCodec(**{**vars(known), "url": url}))
    if where == "hub":
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        copy = tmp_path / "hub" / "models--f--enc" / "blobs" / known.sha256
    else:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        copy = tmp_path / "torch" / "hub" / "checkpoints" / "w.safetensors"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(server.data[:-1] + b"!")
    assert audiolm("models", "pull", "small-codec", "--offline").exit_code == 5
    copy.write_bytes(server.data)
    copy.chmod(0o444)
    shown = audiolm("models", "pull", "small-codec", "--offline")
    assert shown.exit_code == 0
    assert str(copy) in shown.stderr
    assert Path(shown.stdout.strip()).resolve() == copy
    assert sorted(copy.parent.iterdir()) == [copy]
    assert audiolm("models", "rm", "small-codec").exit_code == 0
    assert copy.read_bytes() == server.data


def test_a_command_fetches_what_it_lacks(
    audiolm: Any, known: KnownCodec, server: HostileServer, tmp_path: Path, piano: Callable[..., Any]
) -> None:
    """No question where nobody could answer it."""
    import soundfile

    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", piano(1.0), 32000)
    shown = audiolm("tokenize", tmp_path / "in", "-o", tmp_path / "t", "--codec", "small-codec")
    assert shown.exit_code == 0, shown.stderr
    assert "download: small-codec" in shown.stderr
    assert len(server.seen) == 1


@pytest.mark.parametrize(("answer", "code"), [("n\n", 4), ("", 4), ("y\n", 3), ("\n", 3)])
def test_a_question_on_a_terminal(
    answer: str, code: int, audiolm: Any, known: KnownCodec, server: HostileServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Size, host and licence are told before it is asked; no, and no answer, download nothing."""
    asked = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", asked)
    (tmp_path / "in").mkdir()  # empty: exit code 3 once the codec is here
    shown = audiolm("tokenize", tmp_path / "in", "-o", tmp_path / "t", "--codec", "small-codec")
    assert shown.exit_code == code
    text = asked.getvalue()
    assert 0 < text.index("licence: CC0") < text.index("Download small-codec now? [Y/n]")
    assert len(server.seen) == (code == 3)


def test_every_command_fetches_what_it_is_given_by_name() -> None:
    """Whoever takes a model or a codec also takes --offline, and fetches before it works."""
    for words, target in COMMANDS:
        module, _, function = target.partition(":")
        command = getattr(importlib.import_module(module), function)
        options = inspect.signature(command).parameters
        if {"model", "codec", "init"} & set(options):
            assert "offline" in options, words
            source = inspect.getsource(command)
            if re.search(r"with generating\(context, config, display, play, offline\)", source):
                source = inspect.getsource(generating)
            assert re.search(r"fetch_missing\(\s*out, (config\.)?cache_dir, offline, ", source), words


@pytest.mark.parametrize("command", [("continue", "-m"), ("loop", "-m"), ("train", "-o", "run", "--init")])
def test_a_codec_in_place_of_a_model_is_not_offered(
    command: tuple[str, ...], audiolm: Any, known: KnownCodec, server: HostileServer, tmp_path: Path
) -> None:
    """It is said to be a codec, with the models that there are; nothing is asked for."""
    shown = audiolm(command[0], tmp_path, *command[1:], known.name)
    assert shown.exit_code == 4
    assert "small-codec is a codec, not a model; models: piano." in shown.stderr
    assert "download" not in shown.stderr and not server.seen


def test_a_codec_that_cannot_serve(audiolm: Any, tmp_path: Path) -> None:
    """Refused by name, before anything is downloaded."""
    shown = audiolm("tokenize", tmp_path, "-o", tmp_path / "t", "--codec", "encodec-48khz")
    assert shown.exit_code == 4
    assert "encodec-48khz cannot be used here: it is stereo" in shown.stderr


def test_pull_a_model_of_a_hub(audiolm: Any, hub: HostileServer, cache: Path, tiny_model: Path) -> None:
    """Every file by its hash; the source then is a name, as short as the repository's."""
    shown = audiolm("models", "pull", "hf:me/tiny")
    assert (shown.exit_code, shown.stdout) == (0, f"{cache / 'tiny'}\n"), shown.stderr
    assert "download: tiny, " in shown.stderr and "licence: not stated" in shown.stderr
    assert read_folder(cache / "tiny").sha256 == read_folder(tiny_model).sha256
    asked = len(hub.seen)
    assert audiolm("models", "pull", "hf:me/tiny").stdout == shown.stdout
    assert len(hub.seen) == asked
    for name in ("tiny", "hf:me/tiny"):
        assert audiolm("models", "path", name).stdout == shown.stdout
        assert audiolm("models", "verify", name).exit_code == 0
    assert sorted(path.name for path in cache.iterdir() if not path.name.startswith(".")) == ["tiny"]
    assert not list((cache / "tiny").glob(".*"))
    shown = audiolm("models", "rm", "hf:me/tiny", "--json")
    assert json.loads(shown.stdout)["path"] == str(cache / "tiny")
    shown = audiolm("models", "path", "hf:me/tiny")
    assert shown.exit_code == 4 and "run: audiolm models pull hf:me/tiny" in shown.stderr


def test_a_model_named_by_its_source(
    audiolm: Any, hub: HostileServer, tmp_path: Path, piano: Callable[..., Any]
) -> None:
    """`-m hf:...` fetches it the first time and finds it the second."""
    import soundfile

    soundfile.write(tmp_path / "a.wav", piano(1.0), 32000)
    command = ("continue", tmp_path / "a.wav", "-d", "0.2", "-m", "hf:me/tiny", "--seed", "1", "-f")
    shown = audiolm(*command, "-o", tmp_path / "b.wav")
    assert shown.exit_code == 0, shown.stderr
    asked = len(hub.seen)
    assert audiolm(*command, "-o", tmp_path / "c.wav", "--offline").exit_code == 0
    assert len(hub.seen) == asked
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "c.wav").read_bytes()


def test_a_broken_off_model_goes_on(audiolm: Any, hub: HostileServer, cache: Path) -> None:
    """Files that had arrived are not asked for again, and until the last one is here there is no model."""
    hub._queue[:] = [Fault(kind="honest")] * 3 + [Fault(kind="status", at=404)]  # size, config, a file; then nothing
    shown = audiolm("models", "pull", "hf:me/tiny")
    assert shown.exit_code == 5
    assert not (cache / "tiny").exists()
    first = [request.path for request in hub.seen]
    assert audiolm("models", "pull", "hf:me/tiny").exit_code == 0
    whole = [request.path for request in hub.seen if request.path.endswith(".safetensors")]
    assert len([path for path in first if path.endswith(".safetensors")]) == 2
    assert len(whole) == 3
    assert not list((cache / ".staging").iterdir())


@pytest.mark.parametrize(
    ("config", "code", "told"),
    [
        (b"{", 4, "not valid JSON"),
        (b'{"model_type": "encodec"}', 4, "hf:owner/repository/model.safetensors"),
        (None, 5, "404"),
    ],
)
def test_repositories_without_a_model(
    config: bytes | None, code: int, told: str, audiolm: Any, hub: HostileServer, cache: Path
) -> None:
    """Said from `config.json` alone, before anything large is asked for."""
    hub.files = {} if config is None else {"/me/tiny/resolve/main/config.json": config}
    shown = audiolm("models", "pull", "hf:me/tiny")
    assert (shown.exit_code, shown.stdout) == (code, "")
    assert told in shown.stderr
    assert not (cache / "tiny").exists()


def test_a_manifest_names_no_file_outside(audiolm: Any, hub: HostileServer, cache: Path) -> None:
    """A file name with a path in it is refused before it is asked for."""
    place = "/me/tiny/resolve/main/config.json"
    described = json.loads(hub.files[place])
    described["files"]["../../evil.safetensors"] = described["files"]["model.safetensors"]
    hub.files[place] = json.dumps(described).encode()
    shown = audiolm("models", "pull", "hf:me/tiny")
    assert shown.exit_code == 4 and "files.../../evil.safetensors is not the plain name" in shown.stderr
    assert all(request.path == place for request in hub.seen)


def test_the_hash_of_a_model(audiolm: Any, hub: HostileServer, tiny_model: Path, cache: Path) -> None:
    """`--sha256` of a folder is the hash that `models info` shows."""
    shown = audiolm("models", "pull", "hf:me/tiny", "--sha256", "0" * 64)
    assert shown.exit_code == 4 and "expected 000" in shown.stderr
    assert not (cache / "tiny").exists()
    right = read_folder(tiny_model).sha256
    assert audiolm("models", "pull", "hf:me/tiny", "--sha256", right[:16].upper()).exit_code == 0
    assert audiolm("models", "pull", "hf:me/tiny", "--sha256", "0" * 64).exit_code == 4


def test_names_in_the_cache(audiolm: Any, tiny_model: Path, tiny_codec: Path, cache: Path) -> None:
    """Two sources of one name need two names; the bundled and the catalogue's are taken."""
    assert audiolm("models", "pull", tiny_model, "--name", "mine").stdout == f"{cache / 'mine'}\n"
    shown = audiolm("models", "pull", tiny_codec, "--name", "mine")
    assert shown.exit_code == 7 and "--name" in shown.stderr
    assert audiolm("models", "pull", tiny_codec.as_uri(), "--name", "mine", "-f").exit_code == 0
    assert read_folder(cache / "mine").kind == "codec"
    assert not list((cache / ".staging").iterdir())
    for name in ("piano", "encodec-32khz", "a/b", "..", ".x"):
        assert audiolm("models", "pull", tiny_model, "--name", name).exit_code == 2
    assert audiolm("models", "pull", "piano").exit_code == 0
    assert audiolm("models", "pull", "mine").stdout == f"{cache / 'mine'}\n"
    shown = audiolm("models", "pull", "mina")
    assert shown.exit_code == 4 and "Did you mean mine?" in shown.stderr
    for digits in ("12", "x" * 64, "0" * 65):
        assert audiolm("models", "pull", tiny_model, "--sha256", digits).exit_code == 2


def test_weights_from_an_address(
    audiolm: Any, server: HostileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of EnCodec weights becomes a codec folder, whatever its host."""
    monkeypatch.setattr(encodec_shape, "PUBLISHED", {"small-codec": SMALL})
    shown = audiolm("models", "pull", f"{server.address}/some/w.safetensors", "--sha256", server.sha256)
    assert (shown.exit_code, shown.stdout) == (0, f"{cache / 'w'}\n"), shown.stderr
    folder = read_folder(cache / "w")
    assert (folder.kind, folder.codec["family"], folder.training["source_sha256"]) == (
        "codec",
        "encodec",
        server.sha256,
    )
    assert audiolm("models", "verify", "w").exit_code == 0
    from audiolm_cli.library.loading import load_codec

    assert load_codec(f"{server.address}/some/w.safetensors", cache=cache).name == "w"
    shown = audiolm("models", "pull", f"{server.address}/other.safetensors", "--sha256", "0" * 64)
    assert shown.exit_code == 5 and not (cache / "other").exists()


class _Canary:
    """A pickle that makes a file when it is loaded by something that trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("suffix", [".bin", ".th", ".pt", ".safetensors"])
@pytest.mark.parametrize("protocol", [2, "torch", "torch-legacy"])
def test_a_malicious_pickle_never_runs(
    suffix: str, protocol: int | str, audiolm: Any, cache: Path, tmp_path: Path
) -> None:
    """In any of the accepted forms: refused without a hash, and read as tensors alone with one."""
    canary, file = tmp_path / "canary", tmp_path / f"weights{suffix}"
    content = {"encoder.model.0.conv.conv.bias": torch.zeros(1), "x": _Canary(canary)}
    if isinstance(protocol, int):
        file.write_bytes(pickle.dumps({"x": _Canary(canary)}, protocol=protocol))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=protocol == "torch")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    shown = audiolm("models", "pull", file)
    assert shown.exit_code == (4 if suffix == ".safetensors" else 2), shown.stderr
    shown = audiolm("models", "pull", file, "--sha256", digest)
    assert shown.exit_code == 4, shown.stderr
    assert not canary.exists() and not (cache / "weights").exists()


def test_rm(audiolm: Any, known: KnownCodec, cache: Path, tiny_model: Path) -> None:
    """What is in the cache goes, whole or damaged; what is not there or not ours stays."""
    audiolm("models", "pull", "small-codec")
    audiolm("models", "pull", tiny_model, "--name", "mine")
    (cache / "mine" / "config.json").write_text("{")
    (cache / "loose").symlink_to(tiny_model)
    with hold(cache, "mine"):
        shown = audiolm("models", "rm", "mine")
    assert shown.exit_code == 4 and f"in use by process {os.getpid()}" in shown.stderr
    for name in ("mine", "small-codec", "loose"):
        assert audiolm("models", "rm", name).exit_code == 0
        assert not (cache / name).exists()
        assert audiolm("models", "rm", name).exit_code == 4
    assert read_folder(tiny_model).kind == "model"
    assert audiolm("models", "rm", "piano").exit_code == 2
    for name in ("..", ".locks", "a/..", str(tiny_model), ""):
        shown = audiolm("models", "rm", name)
        assert shown.exit_code == 4 and "is not in the cache" in shown.stderr
    assert tiny_model.is_dir()
