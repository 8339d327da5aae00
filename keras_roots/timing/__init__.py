"""Candidates timed in turns, the ratios of their times, and the machine that these hold for."""

from keras_roots.timing import machine, ratios
from keras_roots.timing.machine import (
    busy_cores,
    environment_of,
    gpu_name,
    hardware,
    load_average,
    sees_gpu,
)
from keras_roots.timing.measure import (
    Timings,
    conditions,
    cores_allowed,
    describe,
    environment_of_cpu,
    interleaved,
    turns,
    versions,
)
from keras_roots.timing.ratios import FEWEST_ROUNDS, NOISY, WIDEST, Ratio, Rounds, ratio_of_medians

__all__ = [
    "FEWEST_ROUNDS",
    "NOISY",
    "WIDEST",
    "Ratio",
    "Rounds",
    "Timings",
    "busy_cores",
    "conditions",
    "cores_allowed",
    "describe",
    "environment_of",
    "environment_of_cpu",
    "gpu_name",
    "hardware",
    "interleaved",
    "load_average",
    "machine",
    "ratio_of_medians",
    "ratios",
    "sees_gpu",
    "turns",
    "versions",
]
