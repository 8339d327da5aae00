"""Candidates timed in turns, the ratios of their times, and the machine that these hold for."""

from keras_roots.timing import machine, ratios
from keras_roots.timing.measure import (
    Timings,
    conditions,
    describe,
    environment_of_cpu,
    interleaved,
    turns,
    versions,
)

__all__ = [
    "Timings",
    "conditions",
    "describe",
    "environment_of_cpu",
    "interleaved",
    "machine",
    "ratios",
    "turns",
    "versions",
]
