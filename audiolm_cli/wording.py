"""Numbers with their nouns, for messages that a person reads."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number and its noun in the right form, for nouns whose plural ends in s.

    >>> counted(1, "input"), counted(2, "input"), counted(0, "clip")
    ('1 input', '2 inputs', '0 clips')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
