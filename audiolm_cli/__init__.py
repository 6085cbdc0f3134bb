"""Continue, infill, extend and restyle audio files with a codec language model, and train such models."""

__version__ = "0.1.0"
