"""All that says which lowering a GPU should get: its layers alone, and whole networks.

Each piece is a file in one folder, and is not measured again where its file
is there already, so that an interrupted run goes on.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from keras_roots.benchmark import lowerings, measured, steps
from keras_roots.benchmark.measured import configured, sized
from keras_roots.lowering import PACKED
from keras_roots.models import build
from keras_roots.reporting import silent, write_text
from keras_roots.timing import conditions
from keras_roots.topology import RootLike

LOWERINGS = ("native", "split", PACKED)


def accelerator(
    network: str,
    roots: Sequence[RootLike],
    folder: Path,
    *,
    batches: Sequence[int] = (1, 32, 256),
    dtypes: Sequence[str] = ("float32", "bfloat16"),
    data_formats: Sequence[str] = ("channels_last", "channels_first"),
    kinds: Sequence[str] = steps.KINDS,
    image_size: int | None = None,
    rounds: int = 10,
    report: Callable[[str], object] = silent,
) -> Iterator[tuple[str, Path]]:
    """Measures on Keras's backend, TensorFlow or JAX, compiled by XLA.

    Args:
        network: a registry name.
        roots: filter groups; the dense network is always measured beside.
        folder: of the files, exists.
        batches, dtypes, data_formats, kinds: all combinations of these.
        image_size: height and width; the network's own by default.
        rounds: turns of each candidate.
        report: takes lines of progress.

    Yields:
        What was measured, in words, and its file: `layers.json` (as
        `lowering.choice` reads it) and `layers.csv`, and a CSV file for each
        kind of step, lowering, batch, type and format of whole networks.
    """
    context = lowerings.contexts_here()[-1]
    layers = folder / "layers.json"
    if layers.exists():
        report(f"'{layers}' is there already")
    else:
        with configured("image_data_format", "channels_last"):
            models = [build(network, root=root, **sized({}, image_size)) for root in roots]
        results = lowerings.lowerings(
            models,
            contexts=[context],
            batches=batches,
            dtypes=dtypes,
            data_formats=data_formats,
            rounds=rounds,
            report=report,
        )
        write_text(layers.with_suffix(".csv"), lowerings.table(results).csv())
        lowerings.measurements(results).write(layers)
        yield "layers", layers.with_suffix(".csv")
    for kind, dtype, data_format, batch, name in itertools.product(
        kinds, dtypes, data_formats, batches, LOWERINGS
    ):
        words = (kind, dtype, data_format, f"batch-{batch}", name)
        path = folder / f"{'_'.join(words)}.csv"
        if path.exists():
            report(f"'{path}' is there already")
            continue
        with configured("image_data_format", data_format):
            run = steps.steps(
                network,
                roots,
                kind=kind,
                xla=True,
                image_size=image_size,
                batch_size=batch,
                dtype=dtype,
                stock_roots=None if name == "native" else (),
                lowering_of_all=name,
                bound=name == "native",
                rounds=rounds,
                report=report,
            )
        measured.write_csv(path, [run], conditions(lowering=name, rounds=rounds))
        yield ", ".join(words), path
