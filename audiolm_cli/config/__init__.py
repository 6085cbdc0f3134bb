"""Every setting of the project as frozen dataclasses, by who reads them."""

from audiolm_cli.config.generation import GenerateConfig, SamplingConfig
from audiolm_cli.config.shapes import PRESETS, ModelConfig, SpectralConfig
from audiolm_cli.config.training import CodecTrainConfig, TrainConfig

__all__ = [
    "PRESETS",
    "CodecTrainConfig",
    "GenerateConfig",
    "ModelConfig",
    "SamplingConfig",
    "SpectralConfig",
    "TrainConfig",
]
