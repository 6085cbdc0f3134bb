"""The averaged weights of a training that has not ended, as a codec folder that `--init` and `compare.py` read.

    python tests/recipe/take_average.py RUN.state INIT OUT

INIT is what the training began with. A learning rate that falls to 0 is worth more than an average: train on from OUT
for some hundred steps.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch

from audiolm_cli.checkpoints.folder import CODEC_TENSORS, write_folder
from audiolm_cli.codec.spectral import SpectralCodec
from audiolm_cli.library.loading import load_codec
from audiolm_cli.training.state import load_state, without_prefix
from audiolm_cli.workflows.codec_train import compact_codec


def main(state: str, init: str, out: str) -> None:
    """Write the folder."""
    found, start = load_state(Path(state)), load_codec(init)
    if found is None or not isinstance(start, SpectralCodec):
        sys.exit(f"{state}: holds no state of a spectral codec")
    step, tensors, meta = found
    changes = {name: meta["config"][name] for name in ("level_s", "steady_frames")}
    codec = SpectralCodec(dataclasses.replace(start.config, **changes))
    codec.network.load_state_dict(without_prefix("network", tensors))
    average = without_prefix("average", tensors)
    with torch.no_grad():
        for name, parameter in codec.network.named_parameters():
            parameter.copy_(average[name])

    name = Path(out).name
    write_folder(
        Path(out),
        kind="codec",
        name=name,
        model=None,
        codec={"family": "spectral", "name": name, "config": codec.config.to_dict()},
        training={"command": "codec train", "config": meta["config"], "step": step, "init": init},
        tensors={CODEC_TENSORS: compact_codec(codec)},
        texts={},
        force=True,
    )
    print(f"{out}: the average after {step} steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
