"""Fails unless a WAV is the continuation of a recording: its samples, bit for bit, and then audible new ones."""

from __future__ import annotations

import sys

import numpy as np
import soundfile

source, result, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
before, rate = soundfile.read(source, dtype="int32", always_2d=True)
after, new_rate = soundfile.read(result, dtype="int32", always_2d=True)
info, new_info = soundfile.info(source), soundfile.info(result)
new = after[len(before) :].astype(np.float64) / 2**31
level_db = 10 * np.log10(np.mean(new**2) / np.mean((before / 2**31) ** 2)) if len(new) else -np.inf
checks = {
    "sample rate": new_rate == rate,
    "channels": after.shape[1] == before.shape[1],
    "subtype": new_info.subtype == info.subtype,
    "length": len(after) == len(before) + round(seconds * rate),
    "input samples": np.array_equal(after[: len(before)], before),
    f"level of the new part ({level_db:.1f} dB against the input's)": -20 < level_db < 10,
    "no long silence": len(new) > 0
    and float(np.mean(np.abs(new).max(axis=1).reshape(-1, rate // 10).max(axis=1) > 1e-3)) > 0.9,
    "says how it was made": '"command": "continue"' in soundfile.SoundFile(result).comment,
}
for name, passed in checks.items():
    print(f"{'ok  ' if passed else 'FAIL'} {name}")
sys.exit(0 if all(checks.values()) else 1)
