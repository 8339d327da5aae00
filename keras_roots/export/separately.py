"""An artifact run where it will be: in a process that knows nothing of the model or of keras_roots.

The programs are the files beside this one, run as scripts; inputs and outputs go through files.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from keras_roots.timing import environment_of_cpu

_PROGRAMS = {"tensorflow": "run_savedmodel.py", "jax": "run_stablehlo.py"}


def run_separately(
    runtime: str, artifact: Path, inputs: dict[str, Any], *, on_cpu: bool = True
) -> dict[str, np.ndarray]:
    """Outputs of an artifact by their names, of inputs by theirs.

    Args:
        runtime: "tensorflow" for a SavedModel, "jax" for an exported function.
        artifact: its file or folder.
        inputs: arrays [examples, ...].
        on_cpu: whether GPUs are to be hidden from it.

    Raises:
        RuntimeError: it cannot be loaded or run there.
    """
    with tempfile.TemporaryDirectory(prefix="keras-roots-") as folder:
        given, made = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
        np.savez(given, **inputs)
        program = Path(__file__).with_name(_PROGRAMS[runtime])
        # Isolated (-I), so that not even the folder of this package is on its path.
        command = [sys.executable, "-I", str(program), str(artifact), str(given), str(made)]
        result = subprocess.run(  # noqa: S603
            command,
            env=environment_of_cpu() if on_cpu else None,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if result.returncode != 0:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            reason = lines[-1] if lines else f"exit code {result.returncode}"
            raise RuntimeError(f"'{artifact}' cannot be run in another process: {reason}")
        with np.load(made, allow_pickle=False) as arrays:
            return dict(arrays)
