"""Runs an exported StableHLO function with JAX alone: run_stablehlo.py FILE INPUTS.npz OUTPUTS.npz

It is of one batch size: examples are taken in pieces of that, the last filled up with repeats.
"""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

if __name__ == "__main__":
    path, inputs, outputs = sys.argv[1:]
    exported = jax.export.deserialize(bytearray(Path(path).read_bytes()))
    with np.load(inputs, allow_pickle=False) as arrays:
        given = list(arrays.values())
    batch, count = exported.in_avals[0].shape[0], len(given[0])
    pieces = []
    for first in range(0, count, batch):
        places = np.minimum(np.arange(first, first + batch), count - 1)
        made = exported.call(*(array[places] for array in given))
        pieces.append({name: np.asarray(tensor) for name, tensor in made.items()})
    whole: dict[str, Any] = {
        name: np.concatenate([piece[name] for piece in pieces])[:count] for name in pieces[0]
    }
    np.savez(outputs, **whole)
