"""What commands do before their work: fetch the models and codecs they were given by name and do not have.

The only reader of other programs' variables (`HF_*`, `TORCH_HOME`), and the only place that asks the user something.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audiolm_cli.cli.render import Renderer
from audiolm_cli.errors import UsageError

if TYPE_CHECKING:
    from audiolm_cli.config.fetching import FetchConfig
    from audiolm_cli.distributed import Ranks
    from audiolm_cli.library.sources import Offer

_TRUE = {"1", "on", "yes", "true"}


def fetch_missing(
    out: Renderer,
    cache_dir: str | Path | None,
    offline: bool,
    *names: str | None,
    model: str | None = None,
    ranks: Ranks | None = None,
) -> None:
    """Bring what `names` and `model` mean into the cache where it is missing; on a terminal, ask first.

    Of several processes, the first one of each machine does it while the others wait, and the first of all asks.

    Raises:
        ModelError: `model` is the name of a codec.
    """
    from audiolm_cli.checkpoints import catalogue
    from audiolm_cli.library import fetching

    cache = catalogue.cache_dir(None if cache_dir is None else Path(cache_dir))
    config = fetch_config(offline)
    catalogue.refuse_codec(model, cache)
    names = (*names, model)
    if ranks is not None and ranks.local and not config.offline:
        fetching.await_missing(names, cache)
        return
    asks = ranks is None or ranks.main
    fetching.fetch_missing(
        names, cache, config, confirm=lambda offer: not asks or _confirm(out, offer), on_event=out.on_event
    )


def fetch_config(offline: bool) -> FetchConfig:
    """How to fetch here: the option, and what Hugging Face's and torch's own variables say.

    Raises:
        UsageError: HF_ENDPOINT is no http(s) address.
    """
    from audiolm_cli.config.fetching import FetchConfig

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hub = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or cache / "huggingface") / "hub"
    torch_home = Path(os.environ.get("TORCH_HOME") or cache / "torch")
    endpoint = (os.environ.get("HF_ENDPOINT") or FetchConfig.endpoint).rstrip("/")
    if not endpoint.startswith(("https://", "http://")):
        raise UsageError(f"HF_ENDPOINT is {endpoint!r}, expected an https address")
    return FetchConfig(
        offline=offline or os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE,
        endpoint=endpoint,
        token=os.environ.get("HF_TOKEN", "").strip(),
        huggingface_cache=str(Path(hub).expanduser()),
        torch_hub_cache=str(torch_home.expanduser() / "hub" / "checkpoints"),
    )


def _confirm(out: Renderer, offer: Offer) -> bool:
    """Ask on a terminal; elsewhere nobody could answer, and naming it was the request."""
    if out.is_read_by_programs or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    out.close()
    sys.stderr.write(f"Download {offer.name} now? [Y/n] ")
    sys.stderr.flush()
    try:
        return input().strip().lower() in ("", "y", "yes")
    except EOFError:
        return False
