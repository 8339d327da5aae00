"""What an update costs while a network is pruned, clustered or quantised, against a plain one."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_roots.benchmark.measured import require_positive, sized
from keras_roots.compression import legacy
from keras_roots.compression.bridge import to_legacy
from keras_roots.compression.clustering import with_centroids
from keras_roots.compression.fast_convolutions import fast
from keras_roots.compression.fast_rounding import fast_rounding
from keras_roots.compression.fine_tuning import FineTuning, Trainee
from keras_roots.compression.pruning import with_masks
from keras_roots.compression.rounding import with_rounding
from keras_roots.compression.selection import DEFAULT, compressed
from keras_roots.data import input_pipeline
from keras_roots.models import build
from keras_roots.reporting import Table, silent
from keras_roots.timing.measure import Timings, interleaved
from keras_roots.topology import RootLike
from keras_roots.training import optimization
from keras_roots.training.steps import Steps

_CLASSES = 10
_SPARSITY, _CLUSTERS = 0.5, 16
PLAIN = "training, Keras 3"
_STOCK = "quantisation, tf-keras as it stands"


@dataclasses.dataclass(frozen=True)
class Updates:
    """Timings of one update of each way.

    Attributes:
        network, image_size, batch_size: what, and how.
        timings: by way; `PLAIN` is the first.
    """

    network: str
    image_size: int
    batch_size: int
    timings: dict[str, Timings]

    def table(self) -> Table:
        plain = self.timings[PLAIN].median
        rows = [
            {
                "update": name,
                "ms": f"{1e3 * each.median:.0f}",
                "10th to 90th percentile": each.spread_in_ms(0),
                "/ plain": f"{each.median / plain:.2f}",
            }
            for name, each in self.timings.items()
        ]
        return Table.of(rows)


def updates(
    network: str,
    root: RootLike,
    *,
    image_size: int | None = None,
    batch_size: int = 8,
    rounds: int = 10,
    stock: bool = True,
    report: Callable[[str], object] = silent,
) -> Updates:
    """Times updates in turns, of random weights and images.

    Args:
        network: a registry name.
        root: its filter groups.
        image_size: height and width; the network's own by default.
        batch_size: images of an update.
        rounds: timed updates of each way.
        stock: whether to time quantisation-aware training with tf-keras's own
            convolutions, too.
        report: takes lines of progress.

    Raises:
        ValueError, ModuleNotFoundError: an argument is not as above, or the
            extra "compression" is not installed.
    """
    legacy.require("The benchmark of fine-tuning")
    require_positive(batch_size=batch_size, rounds=rounds)
    options = sized({}, image_size)
    model = build(network, root=root, classes=_CLASSES, classifier_activation=None, **options)
    size = model.input_shape[1]
    rng = np.random.default_rng(0)
    tuning = FineTuning.of_arrays(
        rng.integers(0, 256, (batch_size, size, size, 3), np.uint8),
        np.arange(batch_size) % _CLASSES,
        classes=_CLASSES,
        epochs=rounds + 2,
        batch_size=batch_size,
    )
    with contextlib.ExitStack() as stack, legacy.forgotten():
        candidates = {}
        for name, make in _ways(model, tuning, stock=stock):
            report(f"tracing {name}")
            candidates[name] = stack.enter_context(make)
        timings = interleaved(candidates, rounds=rounds, report=report)
    return Updates(model.name, size, batch_size, timings)


def _ways(model: keras.Model, tuning: FineTuning, *, stock: bool) -> Iterator[tuple[str, Any]]:
    """Each way's name, and a context whose value makes an update."""

    def bridged() -> Any:
        return to_legacy(model, scores=True)

    names = set(compressed(bridged(), DEFAULT))
    yield PLAIN, _plain(model, tuning)
    yield "fine-tuning, tf-keras", _update(bridged().legacy, tuning)
    pruning = with_masks(bridged().legacy, names, _SPARSITY, "constant", tuning.steps)
    yield "pruning", _update(pruning, tuning)
    yield "clustering", _update(with_centroids(bridged().legacy, names, _CLUSTERS, set()), tuning)
    yield "quantisation", _update(with_rounding(bridged(), (), "nothing", set()), tuning)
    if stock:
        rounding = with_rounding(bridged(), (), "nothing", set())
        yield _STOCK, _update(rounding, tuning, fast_ones=False)


@contextlib.contextmanager
def _plain(model: keras.Model, tuning: FineTuning) -> Iterator[Callable[[], object]]:
    import tensorflow as tf

    config = tuning.config
    optimizer = optimization.make(config, optimization.learning_rate(config, 1, tuning.steps))
    steps = Steps(config, tf.distribute.get_strategy(), model, optimizer, _CLASSES)
    batch, stop = _batch(tuning), tf.constant(False)
    yield lambda: steps.train(batch, stop)[0].numpy()


@contextlib.contextmanager
def _update(
    model: Any, tuning: FineTuning, *, fast_ones: bool = True
) -> Iterator[Callable[[], object]]:
    import tensorflow as tf

    trainee, batch, rate = Trainee(model, tuning), _batch(tuning), tf.constant(0.01)
    with contextlib.ExitStack() as stack:
        for context in (fast(model), fast_rounding()) if fast_ones else ():
            stack.enter_context(context)
        update = tf.function(trainee.update)
        update.get_concrete_function(batch, rate)
        yield lambda: update(batch, rate).numpy()


def _batch(tuning: FineTuning) -> Any:
    import tensorflow as tf

    return next(
        input_pipeline.training(
            tf.distribute.get_strategy(), tuning.config, tuning.source, 0, tuning.steps
        )
    )
