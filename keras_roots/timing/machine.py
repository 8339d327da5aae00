"""The machine beyond `measure.conditions`: its memory and GPU, and what runs on it.

Nothing here imports Keras, TensorFlow or JAX: which GPU they see is asked in another process, as
asking takes hold of it.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from keras_roots.timing.measure import environment_of_cpu

# What changes how fast the runtimes are, if it is set.
_VARIABLES = (
    *("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "TF_XLA_FLAGS", "XLA_FLAGS"),
    *("OMP_NUM_THREADS", "NVIDIA_TF32_OVERRIDE", "JAX_DEFAULT_MATMUL_PRECISION"),
)
_SEES = {
    "tensorflow": "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))",
    "jax": "import jax; print(sum(device.platform == 'gpu' for device in jax.devices()))",
}


def hardware() -> dict[str, object]:
    """Conditions beside `measure.conditions`: memory, GPU, JAX's version, variables set."""
    found: dict[str, object] = {
        "memory_gib": _memory_gib(),
        "gpu": gpu_name() or "none",
    }
    try:
        found["jax"] = importlib.metadata.version("jax")
    except importlib.metadata.PackageNotFoundError:
        found["jax"] = "none"
    found.update({name: os.environ[name] for name in _VARIABLES if name in os.environ})
    return found


def gpu_name() -> str | None:
    """Of the first NVIDIA GPU, as its driver's tool names it; None without GPU or tool."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    result = subprocess.run(  # noqa: S603
        [tool, "--query-gpu=name", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = result.stdout.split("\n") if result.returncode == 0 else []
    return next((line.strip() for line in lines if line.strip()), None)


def sees_gpu(library: str) -> bool:
    """Whether "tensorflow" or "jax" finds a GPU; asked in another process, which takes seconds."""
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _SEES[library]], capture_output=True, text=True, check=False
    )
    return result.returncode == 0 and int(result.stdout.split()[-1]) > 0


def environment_of(device: str) -> dict[str, str]:
    """This process's environment for one that is to run on "cpu" or on "gpu".

    On a GPU memory is taken as it is needed, as several processes share it.
    """
    if device == "cpu":
        return environment_of_cpu()
    return {
        **os.environ,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def busy_cores(seconds: float = 0.5, stat: str | os.PathLike = "/proc/stat") -> float | None:
    """How many cores' worth of time everything on this machine takes, this process waiting.

    None where that file is not.
    """
    if not Path(stat).is_file():
        return None
    before = _ticks(stat)
    time.sleep(seconds)
    after = _ticks(stat)
    return busy_between(before, after, os.cpu_count() or 1)


def busy_between(before: list[int], after: list[int], cores: int) -> float:
    """The same from two readings of /proc/stat's first line: user, nice, system, idle, iowait..."""
    spent = [late - early for early, late in zip(before, after, strict=True)]
    # Guests' time is in the user's already.
    total = sum(spent[:8])
    return cores * (1 - sum(spent[3:5]) / total) if total > 0 else 0.0


def load_average() -> float | None:
    """Processes that ran or wanted to, of the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _ticks(stat: str | os.PathLike) -> list[int]:
    with Path(stat).open(encoding="utf-8") as file:
        return [int(value) for value in file.readline().split()[1:]]


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
