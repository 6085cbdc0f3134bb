"""Sources as they are written: what they address, and what is no source."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from audiolm_cli.checkpoints.source import Wanted, at_endpoint, hub_copies, parse_source
from audiolm_cli.errors import UsageError

HUB = "https://huggingface.co"


@pytest.mark.parametrize(
    ("text", "url", "is_weights", "name"),
    [
        ("hf:me/piano", f"{HUB}/me/piano/resolve/main", False, "piano"),
        ("hf:me/piano@v2", f"{HUB}/me/piano/resolve/v2", False, "piano"),
        ("hf:me/piano@refs/pr/1", f"{HUB}/me/piano/resolve/refs%2Fpr%2F1", False, "piano"),
        ("hf:me/models/small one/", f"{HUB}/me/models/resolve/main/small%20one", False, "small-one"),
        ("hf:f/enc/model.safetensors@abc", f"{HUB}/f/enc/resolve/abc/model.safetensors", True, "model"),
        ("https://h.example/runs/mine/", "https://h.example/runs/mine", False, "mine"),
        ("https://h.example/a/w.TH?x=1", "https://h.example/a/w.TH?x=1", True, "w"),
        ("HTTPS://h.example/a%20b#c", "https://h.example/a%20b", False, "a-b"),
        ("https://h.example", "https://h.example", False, "model"),
        ("file:///tmp/a%20b", "/tmp/a b", False, "a-b"),
        ("file:w.safetensors", "w.safetensors", True, "w"),
    ],
)
def test_what_sources_address(text: str, url: str, is_weights: bool, name: str) -> None:
    """Address, kind and short name of each form."""
    source = parse_source(text)
    assert source is not None
    assert (source.address, source.is_weights, source.short_name) == (url, is_weights, name)


@pytest.mark.parametrize("text", ["piano", "./hf", "runs/mine", "C:\\models", "a:b", "", "hf"])
def test_names_and_paths_are_no_sources(text: str) -> None:
    """They are left to the catalogue."""
    assert parse_source(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *("hf:", "hf:me", "hf:me/", "hf:me/piano@", "hf:me/piano/../../x", "hf:/a/b", "hf:me/piano@../x", "hf:-/x"),
        *("https://", "https:///x", "https://h:x/", "https://me:secret@h/x", "http://[", "file://other/x", "file:"),
    ],
)
def test_malformed_sources_are_usage_errors(text: str) -> None:
    """They begin like a source, so nobody wants them looked up as a name."""
    with pytest.raises(UsageError):
        parse_source(text)


def test_files_of_a_folder_and_mirrors() -> None:
    """Names are quoted, a query stays behind the path, and another endpoint replaces the official host alone."""
    source = parse_source("https://h.example/mine?token=1")
    assert source is not None
    assert source.url("https://mirror", "a b.json") == "https://h.example/mine/a%20b.json?token=1"
    assert at_endpoint(f"{HUB}/a/b", "http://127.0.0.1:1/") == "http://127.0.0.1:1/a/b"
    assert at_endpoint("https://huggingface.co.evil.example/a", "https://mirror") == (
        "https://huggingface.co.evil.example/a"
    )


def test_where_a_hub_cache_holds_a_file() -> None:
    """Under its hash where that is known, and under its revision."""
    url = f"{HUB}/f/enc/resolve/abc/model.safetensors"
    digest = hashlib.sha256(b"").hexdigest()
    folder = Path("hub/models--f--enc")
    assert hub_copies(url, digest, Path("hub")) == [
        folder / "blobs" / digest,
        folder / "snapshots" / "abc" / "model.safetensors",
    ]
    assert hub_copies(url, "12345678", Path("hub")) == [folder / "snapshots" / "abc" / "model.safetensors"]
    assert hub_copies("https://h.example/x", digest, Path("hub")) == []


def test_what_to_fetch_by_hand() -> None:
    """Address, size and hash, as far as they are known."""
    wanted = Wanted(label="x", urls=("https://a", "https://b"), bytes=3, sha256="0" * 64)
    assert wanted.place_by_hand == f"https://a or https://b (3 bytes, sha256 {'0' * 64})"
    assert Wanted(label="x", urls=("https://a",), sha256="12345678").place_by_hand == (
        "https://a (sha256 starts with 12345678)"
    )
    assert Wanted(label="x", urls=("https://a",)).place_by_hand == "https://a"
