"""`audiolm models export` and `push`, and `pull` of what they make: whole, checked, with an honest card, or refused."""

from __future__ import annotations

import io
import json
import shlex
import stat
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import READS, WRITES, HubServer

from audiolm_cli.checkpoints import archive
from audiolm_cli.checkpoints.catalogue import resolve
from audiolm_cli.checkpoints.folder import MODEL_TENSORS, Folder, FolderFacts, load_tensors, read_folder, write_folder
from audiolm_cli.config.shapes import ModelConfig
from audiolm_cli.model.decoders import build
from audiolm_cli.reports.card import plain_card

HELD_OUT = {"bits": [2.25, 5.5, 7.0, 8.0], "top1": [0.5, 0.25, 0.1, 0.1], "top10": [0.9, 0.5, 0.3, 0.2]}
TRAINED = {"hours": 1.5, "minutes": 61.0, "step": 380, "config": {"steps": 400}, "init": "piano", "held_out": HELD_OUT}


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A model as a training leaves it, in the current folder, of recordings whose terms nobody has stated."""
    monkeypatch.chdir(tmp_path)
    found = read_folder(tiny_model)
    facts = FolderFacts(kind="model", name="my run", model=found.model, codec=found.codec, training=TRAINED)
    tensors = {filename: load_tensors(found, filename) for filename in found.files}
    return write_folder(Path("run"), facts, tensors=tensors, texts={"MODEL_CARD.md": plain_card("my run")})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A server of Hugging Face, with a token that may write there."""
    from huggingface_hub import constants

    monkeypatch.delenv("AUDIOLM_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # large files go by LFS, which this server speaks
    with HubServer() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("HF_TOKEN", WRITES)
        yield running


def weights_of(folder: Path) -> dict[str, bytes]:
    """The files of weights in a folder."""
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


# As a file


def test_a_model_goes_into_a_file_and_comes_out_of_it(audiolm: Any, run: Folder, cache: Path) -> None:
    """With the same hash, under the file's name, or unpacked by hand; the same model gives the same bytes."""
    shown = audiolm("models", "export", "run", "mine.zip")
    assert (shown.exit_code, shown.stdout) == (0, "mine.zip\n")
    warning, told = shown.stderr.splitlines()
    assert warning == "warning: licence unknown: say what the recordings' owners allow with --license"

    program, *words = shlex.split(told.removeprefix("whoever gets it: "))
    assert (program, *words) == ("audiolm", "models", "pull", "file:mine.zip")
    pulled = audiolm(*words)
    assert pulled.stdout == f"{cache / 'mine'}\n", pulled.stderr
    assert read_folder(cache / "mine").sha256 == run.sha256
    assert weights_of(cache / "mine") == weights_of(run.path)
    assert audiolm("models", "verify", "mine").exit_code == 0
    assert not list(cache.glob(".staging/*"))

    with zipfile.ZipFile("mine.zip") as packed:
        assert packed.testzip() is None
        packed.extractall("by-hand")
    assert read_folder(Path("by-hand/my-run")).sha256 == run.sha256

    assert audiolm("models", "export", "run", "again.zip", "--json").stdout == (
        json.dumps({"name": "run", "path": "again.zip"}, indent=2) + "\n"
    )
    assert Path("again.zip").read_bytes() == Path("mine.zip").read_bytes()


def test_the_card_says_what_is_known_and_no_more(audiolm: Any, run: Folder, cache: Path) -> None:
    """Shape, training, held-out numbers, terms: what the data's owner said, or that nobody said it."""
    audiolm("models", "export", "run", "mine.zip")
    audiolm("models", "pull", "mine.zip")
    card = (cache / "mine" / "MODEL_CARD.md").read_text()
    assert card.startswith("# my run\n\nA codec language model for audiolm")
    assert "2 layers of width 32, with its codec (4 codebooks of 32 codes)" in card
    assert "| this model | 1.500 | 380 | 61 min |" in card and "It started from `piano`." in card
    assert "| bits per frame | 2.250 | 5.500 | 7.000 | 8.000 | 22.750 |" in card
    assert "| it is among the ten likeliest | 90 % | 50 % | 30 % | 20 % |" in card
    assert "audiolm models pull file:my-run.zip --name my-run\naudiolm continue take.wav -m my-run" in card
    assert "## Licence\n\nUnknown: whoever gives it away has not stated it" in card

    shown = audiolm("models", "export", "run", "said.zip", "--license", "CC-BY-4.0")
    assert shown.stderr == "whoever gets it: audiolm models pull file:said.zip\n"
    audiolm("models", "pull", "said.zip")
    assert "## Licence\n\nCC-BY-4.0, as whoever gives it away states." in (cache / "said" / "MODEL_CARD.md").read_text()
    assert read_folder(cache / "said").licence == "CC-BY-4.0"
    assert read_folder(cache / "said").sha256 == run.sha256  # the terms are no part of what it is


def test_a_card_is_made_anew_for_a_model_that_is_given_on(audiolm: Any, run: Folder, cache: Path) -> None:
    """With the terms that are known by then."""
    audiolm("models", "export", "run", "mine.zip")
    audiolm("models", "pull", "mine.zip")
    audiolm("models", "export", "mine", "said.zip", "--license", "mit")
    audiolm("models", "pull", "said.zip")
    card = (cache / "said" / "MODEL_CARD.md").read_text()
    assert "mit, as whoever gives it away states." in card and "Unknown" not in card


def test_a_card_that_a_person_wrote_stays(audiolm: Any, run: Folder, cache: Path) -> None:
    """With the evaluation behind it."""
    (run.path / "MODEL_CARD.md").write_text("# Mine\n\nRecorded in a barn.\n")
    audiolm("models", "export", "run", "mine.zip")
    audiolm("models", "pull", "mine.zip")
    assert (cache / "mine" / "MODEL_CARD.md").read_text() == "# Mine\n\nRecorded in a barn.\n"


def test_an_evaluation_fills_the_card(
    audiolm: Any, run: Folder, cache: Path, piano: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `audiolm evaluate --json` printed of these weights; that of others is refused."""
    import soundfile

    Path("recordings").mkdir()
    for number in range(2):
        soundfile.write(f"recordings/{number}.wav", piano(6.0, 16000, seed=number), 16000)
    words = ["evaluate", "recordings", "-m", "run", "--clips", "2", "--windows", "2", "--device", "cpu", "--json"]
    evaluated = audiolm(*words)
    assert evaluated.exit_code == 0, evaluated.stderr
    Path("numbers.json").write_text(evaluated.stdout)
    shown = audiolm("models", "export", "run", "mine.zip", "--evaluation", "numbers.json")
    assert shown.exit_code == 0, shown.stderr
    audiolm("models", "pull", "mine.zip")
    card = (cache / "mine" / "MODEL_CARD.md").read_text()
    assert "## Evaluation\n\n2 " in card and "| codec round trip |" in card and "| model: top-10 | " in card

    values = json.loads(Path("numbers.json").read_text())
    for content, told in (
        (json.dumps(values | {"model": {"name": "other", "sha256": "0" * 64}}), "is of the model other"),
        ("{}", "is no evaluation"),
        ("[", "is no evaluation"),
        (json.dumps({"model": {"name": "x", "sha256": run.sha256}}), "is no evaluation"),
        (" " * (1 << 22) + " ", "is larger than any evaluation"),
    ):
        Path("bad.json").write_text(content)
        shown = audiolm("models", "export", "run", "bad.zip", "--evaluation", "bad.json")
        assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1) and told in shown.stderr, shown.stderr
    shown = audiolm("models", "export", "run", "bad.zip", "--evaluation", "none.json")
    assert shown.exit_code == 2 and "none.json: cannot be read" in shown.stderr
    assert not Path("bad.zip").exists()


def test_a_model_that_names_a_bundled_codec(audiolm: Any, tmp_path: Path, cache: Path) -> None:
    """Is given away without it, and is whole where it arrives; one whose codec is nowhere else is told of."""
    import torch

    from audiolm_cli.library.loading import load_model

    sound = resolve("sound")
    shape = ModelConfig(d_model=16, nhead=2, num_layers=1, num_quantizers=9)
    for name, sha256 in (("mine", sound.codec["sha256"]), ("alone", 64 * "0")):
        codec = {**sound.codec, "sha256": sha256}
        if name == "alone":
            codec["name"] = "private"
        facts = FolderFacts(kind="model", name=name, model=shape.to_dict(), codec=codec, training={"licence": "CC0"})
        write_folder(tmp_path / name, facts, tensors={MODEL_TENSORS: build(shape).state_dict()}, texts={})

    target = tmp_path / "mine.zip"
    assert audiolm("models", "export", tmp_path / "mine", target, "-q").stderr == ""
    with zipfile.ZipFile(target) as packed:
        assert sorted(packed.namelist()) == ["mine/MODEL_CARD.md", "mine/config.json", "mine/model.safetensors"]
        assert "the codec sound, which is not part of it" in packed.read("mine/MODEL_CARD.md").decode()
    assert audiolm("models", "pull", f"file:{target}", "--name", "theirs").exit_code == 0
    assert load_model("theirs", torch.device("cpu"), cache=cache).codec.num_codebooks == 9
    assert audiolm("models", "verify", "theirs").exit_code == 0

    shown = audiolm("models", "export", tmp_path / "alone", tmp_path / "alone.zip")
    assert shown.exit_code == 0 and "does not carry its codec, private: give that away as well" in shown.stderr
    assert audiolm("models", "verify", tmp_path / "alone").exit_code == 4


def test_a_folder_may_be_called_as_a_file(audiolm: Any, run: Folder, cache: Path) -> None:
    """It is one all the same."""
    run.path.rename("run.zip")
    assert audiolm("models", "pull", "file:run.zip").exit_code == 0
    assert read_folder(cache / "run").sha256 == run.sha256


def test_a_codec_alone(audiolm: Any, tiny_codec: Path, tmp_path: Path, cache: Path) -> None:
    """Goes the same way."""
    assert audiolm("models", "export", tiny_codec, tmp_path / "c.zip").exit_code == 0
    assert audiolm("models", "pull", tmp_path / "c.zip").exit_code == 0
    assert read_folder(cache / "c").sha256 == read_folder(tiny_codec).sha256
    assert "A codec for audiolm (spectral)" in (cache / "c" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["export", "run", "mine.tar"], 2, "expected a file that ends in .zip"),
        (["export", "run", "none/mine.zip"], 7, "does not exist"),
        (["export", "run", "there.zip"], 7, "exists already"),
        (["export", "none", "mine.zip"], 4, "no model is called 'none'"),
        (["export", "encodec-32khz", "mine.zip"], 2, "is published by others"),
        (["pull", "file:none.zip"], 4, "none.zip cannot be read: No such file or directory"),
        (["pull", "there.zip"], 4, "there.zip is no zip file, or damaged"),
        (["push", "run", "mine"], 2, "expected hf:owner/name"),
        (["push", "run", "hf:owner"], 2, "expected hf:owner/name"),
        (["push", "run", "hf:owner/name/path"], 2, "expected hf:owner/name"),
        (["push", "run", "hf:owner/name@v2"], 2, "expected hf:owner/name"),
        (["push", "run", "hf:owner/name--x"], 2, "hf:owner/name--x: Cannot have -- or .."),
        (["push", "none", "hf:owner/name"], 4, "no model is called 'none'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(audiolm: Any, run: Folder, hub: HubServer, words: list[str], code: int, told: str) -> None:
    """One line, the right code; nothing is written, sent or lost."""
    Path("there.zip").write_text("precious")
    shown = audiolm("models", *words)
    errors = [line for line in shown.stderr.splitlines() if not line.startswith("warning: licence unknown")]
    assert shown.exit_code == code and len(errors) == 1 and told in errors[0], shown.stderr
    assert not Path("mine.zip").exists() and Path("there.zip").read_text() == "precious" and not hub.repositories


def test_damage_is_found_before_it_is_given_away(audiolm: Any, run: Folder) -> None:
    """A changed byte in the weights."""
    path = run.path / MODEL_TENSORS
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    shown = audiolm("models", "export", "run", "mine.zip")
    assert shown.exit_code == 4 and "is damaged" in shown.stderr and not Path("mine.zip").exists()


# Files from elsewhere


def make_archive(
    path: Path, members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None
) -> Path:
    """An archive; `change` changes what is said of its last member."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive_:
        for number, (name, content) in enumerate(members.items(), 1):
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            if change is not None and number == len(members):
                change(member)
            archive_.writestr(member, content)
    return path


def as_link(member: zipfile.ZipInfo) -> None:
    member.external_attr = (stat.S_IFLNK | 0o777) << 16


def as_pipe(member: zipfile.ZipInfo) -> None:
    member.external_attr = (stat.S_IFIFO | 0o666) << 16


@pytest.fixture
def members(run: Folder) -> dict[str, bytes]:
    """The files of a good archive."""
    return {path.name: path.read_bytes() for path in sorted(run.path.iterdir())}


@pytest.mark.parametrize("folder", ["", "some model/"])
def test_an_archive_that_a_person_packed(
    audiolm: Any, members: dict[str, bytes], cache: Path, run: Folder, folder: str
) -> None:
    """At the top or in one folder, with other files that are left there."""
    named = {f"{folder}{name}": content for name, content in members.items()}
    make_archive(Path("m.zip"), {**named, "__MACOSX/._config.json": b"x", f"{folder}notes/config.json.txt": b"x"})
    assert audiolm("models", "pull", "m.zip").exit_code == 0
    assert read_folder(cache / "m").sha256 == run.sha256
    assert sorted(path.name for path in (cache / "m").iterdir() if path.suffix == ".txt") == []


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("../outside.txt", None, "would lie outside of its folder"),
        ("a/../../outside.txt", None, "would lie outside of its folder"),
        ("/outside.txt", None, "would lie outside of its folder"),
        ("a\\..\\outside.txt", None, "would lie outside of its folder"),
        ("C:outside.txt", None, "would lie outside of its folder"),
        ("link", as_link, "is a link"),
        ("model2.safetensors", as_link, "is a link"),
        ("pipe", as_pipe, "is no plain file"),
        ("deep/config.json", None, "found 2 of them"),
    ],
)
def test_what_no_model_has_is_refused(
    audiolm: Any, members: dict[str, bytes], cache: Path, name: str, change: Any, told: str
) -> None:
    """Although all that a model needs is there; nothing is written, in the cache or elsewhere."""
    make_archive(Path("m.zip"), {**members, name: b"x"}, change)
    shown = audiolm("models", "pull", "file:m.zip")
    assert (shown.exit_code, shown.stderr.count("\n")) == (4, 1) and told in shown.stderr, shown.stderr
    assert not (cache / "m").exists() and not list(cache.glob(".staging/*"))
    assert not [path for path in (*Path().rglob("outside*"), *Path("..").glob("outside*"), *cache.rglob("outside*"))]


def test_sizes_are_limited(
    audiolm: Any, members: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of files that shrink as no weights do, of a card, of a configuration, of weights that are other than stated."""
    for change, told in (
        ({"zeros": bytes(80 << 20)}, "'zeros' would become 83886080 bytes"),
        ({"MODEL_CARD.md": b"ab" * (1 << 19) + b"c"}, "is larger than the 1048576 bytes"),
        ({"config.json": b" " * (1 << 20) + members["config.json"]}, "is larger than the 1048576 bytes"),
        ({"model.safetensors": members["model.safetensors"] + b"x"}, "model.safetensors is larger than the"),
        ({"model.safetensors": members["model.safetensors"][:-1]}, "model.safetensors has"),
        ({"model.safetensors": members["model.safetensors"][:-1] + b"?"}, "is damaged: its sha256"),
        ({f"{number}.txt": b"" for number in range(1001)}, "and a model has a handful"),
    ):
        make_archive(Path("m.zip"), members | change)
        shown = audiolm("models", "pull", "m.zip")
        assert (shown.exit_code, shown.stderr.count("\n")) == (4, 1) and told in shown.stderr, shown.stderr
        assert not (cache / "m").exists() and not list(cache.glob(".staging/*"))


def test_headers_that_lie(audiolm: Any, members: dict[str, bytes], cache: Path) -> None:
    """A size in the directory that is not that of the content, an unknown compression, an encrypted file."""
    make_archive(Path("m.zip"), members)
    good = Path("m.zip").read_bytes()
    place = good.rindex(b"PK\x01\x02")  # what the directory says of the last file
    for offset, form, value in ((24, "<I", 5), (10, "<H", 99), (8, "<H", 1)):
        bad = bytearray(good)
        struct.pack_into(form, bad, place + offset, value)
        Path("m.zip").write_bytes(bad)
        shown = audiolm("models", "pull", "m.zip")
        assert (shown.exit_code, shown.stderr.count("\n")) == (4, 1), shown.stderr
        assert not (cache / "m").exists()


def test_damaged_archives_are_refused_in_one_line(audiolm: Any, members: dict[str, bytes], cache: Path) -> None:
    """Cut off anywhere, a byte changed anywhere, or no archive at all; or it is whole in spite of that."""
    import random

    small = {name: content for name, content in members.items() if name != "codec.safetensors"}
    good = make_archive(Path("good.zip"), small).read_bytes()
    rng = random.Random(0)
    for number in range(60):
        bad = bytearray(good)
        if number % 2:
            del bad[rng.randrange(len(bad)) :]
        else:
            for _ in range(3):
                bad[rng.randrange(len(bad))] = rng.randrange(256)
        Path("m.zip").write_bytes(bad)
        shown = audiolm("models", "pull", "m.zip")
        assert shown.exit_code == 4 and shown.stderr.count("\n") == 1, (number, shown.stderr)
        assert not (cache / "m").exists()


def test_unpacking_writes_nothing_but_the_model(members: dict[str, bytes], tmp_path: Path) -> None:
    """Whatever else there is."""
    path = make_archive(tmp_path / "m.zip", {**{f"a/{name}": own for name, own in members.items()}, "a/x.py": b"x"})
    folder = tmp_path / "new"
    folder.mkdir()
    archive.unpack(path, folder)
    assert {own.name: own.read_bytes() for own in folder.iterdir()} == members


def test_a_file_that_is_overwritten_stays_whole(audiolm: Any, run: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """With -f, and with a disk that becomes full."""
    Path("mine.zip").write_text("precious")

    def fail(stream: io.RawIOBase, *_: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audiolm_cli.workflows.share.pack", fail)
        shown = audiolm("models", "export", "run", "mine.zip", "-f")
    assert shown.exit_code == 7 and "no space left" in shown.stderr
    assert Path("mine.zip").read_text() == "precious"
    assert audiolm("models", "export", "run", "mine.zip", "-f").exit_code == 0
    assert zipfile.is_zipfile("mine.zip")


# On Hugging Face


def test_push_and_pull(audiolm: Any, run: Folder, hub: HubServer, cache: Path) -> None:
    """The whole way: a new repository with weights, card and terms, from which another audiolm pulls the same model."""
    shown = audiolm("models", "push", "run", "hf:me/mine", "--license", "CC-BY-4.0")
    assert (shown.exit_code, shown.stdout) == (0, f"{hub.address}/me/mine\n"), shown.stderr
    assert shown.stderr == ""
    files = hub.repositories["me/mine"]
    names = ["MODEL_CARD.md", "README.md", "codec.safetensors", "config.json", "model.safetensors"]
    assert sorted(files) == names and hub.objects  # some of them as large files
    assert hub.messages == ["my run, by audiolm 0.1.0"] and not hub.private

    readme = files["README.md"].decode()
    assert readme.startswith("---\nlicense: cc-by-4.0\nlibrary_name: audiolm\n")
    assert readme.endswith(files["MODEL_CARD.md"].decode()) and "| bits per frame | 2.250" in readme
    assert "audiolm models pull hf:me/mine --name my-run" in readme

    assert audiolm("models", "pull", "hf:me/mine").stdout == f"{cache / 'mine'}\n"
    assert read_folder(cache / "mine").sha256 == run.sha256
    assert read_folder(cache / "mine").licence == "CC-BY-4.0"
    assert audiolm("models", "verify", "mine").exit_code == 0


def test_terms_that_nobody_stated_are_unknown(audiolm: Any, run: Folder, hub: HubServer) -> None:
    """And those that are in no list are given in words."""
    shown = audiolm("models", "push", "run", "hf:me/a", "--private")
    assert shown.stderr == "warning: licence unknown: say what the recordings' owners allow with --license\n"
    assert hub.repositories["me/a"]["README.md"].startswith(b"---\nlicense: unknown\n") and hub.private == {"me/a"}
    audiolm("models", "push", "run", "hf:me/b", "--license", 'Ask "us" first')
    assert b'license: other\nlicense_name: "Ask \\"us\\" first"\n' in hub.repositories["me/b"]["README.md"]


def test_a_repository_that_exists_gets_a_version_with_f(audiolm: Any, run: Folder, hub: HubServer) -> None:
    """And stays as it is without."""
    hub.repositories["me/mine"] = {"notes.txt": b"precious"}
    shown = audiolm("models", "push", "run", "hf:me/mine")
    assert shown.exit_code == 7 and "hf:me/mine exists already; choose another name, or add a version" in shown.stderr
    assert hub.repositories["me/mine"] == {"notes.txt": b"precious"}
    assert audiolm("models", "push", "run", "hf:me/mine", "-f").exit_code == 0
    assert hub.repositories["me/mine"]["notes.txt"] == b"precious" and "config.json" in hub.repositories["me/mine"]


def test_the_token_may_lie_where_huggingface_hub_keeps_it(
    audiolm: Any, run: Folder, hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As `hf auth login` writes it."""
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text(WRITES)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert audiolm("models", "push", "run", "hf:me/mine").exit_code == 0


@pytest.mark.parametrize(
    ("token", "code", "told"),
    [
        ("", 2, "no token of Hugging Face"),
        ("hf_wrong", 5, "127.0.0.1 does not accept the token"),
        (READS, 5, "the token may not write to hf:me/mine"),
    ],
)
def test_without_permission(
    audiolm: Any, run: Folder, hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str, code: int,
    told: str,
) -> None:  # fmt: skip
    """One line, and nothing is there."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("HF_TOKEN", token)
    shown = audiolm("models", "push", "run", "hf:me/mine", "--license", "mit")
    assert (shown.exit_code, shown.stderr.count("\n")) == (code, 1) and told in shown.stderr, shown.stderr
    assert not hub.repositories and (not token or token not in shown.stderr)


def test_without_a_network(audiolm: Any, run: Folder, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline by wish, no server, and one that fails in the middle."""
    words = ["models", "push", "run", "hf:me/mine", "--license", "mit"]
    shown = audiolm(*words, "--offline")
    assert shown.exit_code == 5 and "offline" in shown.stderr and not hub.requests

    hub.fails_at = "/commit/"
    shown = audiolm(*words)
    assert (shown.exit_code, shown.stderr.count("\n")) == (5, 1) and "refuses hf:me/mine (400)" in shown.stderr
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    shown = audiolm(*words)
    assert (shown.exit_code, shown.stderr.count("\n")) == (5, 1) and "127.0.0.1 cannot be reached" in shown.stderr


def test_without_the_package(audiolm: Any, run: Folder, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that installs it, in versions that were tested; all else works without."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    shown = audiolm("models", "push", "run", "hf:me/mine")
    assert shown.exit_code == 4 and "huggingface-hub" in shown.stderr and "install" in shown.stderr
    assert "huggingface-hub<" in shown.stderr or "huggingface-hub>" in shown.stderr
    assert audiolm("models", "export", "run", "mine.zip").exit_code == 0
