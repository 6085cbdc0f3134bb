"""Every failure a user or a file can cause, with the exit code of the command that meets it.

AudioLMError                exit 1   never raised itself
 |- UsageError              exit 2   options that contradict each other or are out of range
 |- AudioInputError         exit 3   a recording that cannot be used
 |   `- OwnOutputError      exit 3   a file in a watched folder that audiolm has made
 |- ModelError              exit 4   a model, codec or checkpoint that is missing, damaged or unfit
 |- InstallationError       exit 4   a package that is missing, or that does not work with the others
 |- NetworkError            exit 5   a download that failed, or was needed while offline
 |- MemoryLimitError        exit 6   out of memory on the device
 |- OutputError             exit 7   a file that cannot be written: disk full, no permission, exists already
 |   `- NameTakenError      exit 7   a file of that name exists already
 |- DataError               exit 3   a training set that cannot be used
 `- SomeInputsFailedError        exit 10  several inputs, some of which failed

Knows nothing about how errors are shown; `cli/render.py` does that.
"""

from __future__ import annotations


class AudioLMError(Exception):
    """A failure with a message fit to show: what, which value, what was expected, what to do."""

    exit_code = 1


class UsageError(AudioLMError):
    """Options that are out of range or contradict each other."""

    exit_code = 2


class AudioInputError(AudioLMError):
    """A recording that cannot be read or used."""

    exit_code = 3


class OwnOutputError(AudioInputError):
    """A file in a watched folder that audiolm has made: its results must not become its inputs."""


class DataError(AudioLMError):
    """A training set or token store that cannot be used."""

    exit_code = 3


class ModelError(AudioLMError):
    """A model, codec or checkpoint that is missing, damaged or unfit."""

    exit_code = 4


class InstallationError(AudioLMError):
    """A package that is missing, or that does not work with the others."""

    exit_code = 4


class NetworkError(AudioLMError):
    """A download that failed, or that was needed while offline."""

    exit_code = 5


class MemoryLimitError(AudioLMError):
    """Out of memory on the chosen device."""

    exit_code = 6


class OutputError(AudioLMError):
    """An output that cannot be written, or that exists already."""

    exit_code = 7


class NameTakenError(OutputError):
    """An output whose name another file has; it may have come while this one was made."""


class SomeInputsFailedError(AudioLMError):
    """Some of several inputs failed; the others were done."""

    exit_code = 10
