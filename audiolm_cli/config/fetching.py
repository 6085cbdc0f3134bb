"""How checkpoints that are missing are fetched, as settings. Knows nothing about how they are used."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from audiolm_cli.config.base import Settings, require


@dataclass(frozen=True, kw_only=True)
class FetchConfig(Settings):
    """How checkpoints that are missing are fetched."""

    offline: bool = False
    """Never open a connection."""
    endpoint: str = "https://huggingface.co"
    """The Hugging Face server, or a mirror of it, without a slash at the end."""
    token: str = dataclasses.field(default="", repr=False)
    """Access token, sent to `endpoint` and to no other host; empty sends none."""
    huggingface_cache: str | None = None
    """Folder of a Hugging Face cache to look in first; it is only read. None looks nowhere."""
    torch_hub_cache: str | None = None
    """Folder of torch hub's checkpoints to look in first; it is only read. None looks nowhere."""
    connect_timeout_s: float = 10.0
    """Longest wait for a connection."""
    read_timeout_s: float = 30.0
    """Longest wait for the next bytes."""
    attempts: int = 5
    """Attempts in a row without a new byte before an address is given up."""
    backoff_s: float = 1.0
    """Wait before the second attempt; doubled for each further one."""
    longest_wait_s: float = 120.0
    """Longest wait a server may ask for; one that asks for more is given up."""
    spare_bytes: int = 64 << 20
    """Disk space that must stay free beside the file."""

    def __post_init__(self) -> None:
        require(self.attempts >= 1, f"attempts must be 1 or more, got {self.attempts}")
