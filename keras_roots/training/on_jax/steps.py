"""Updates and batches of an evaluation, some hundred at a time.

On an accelerator they are one program, a loop that has as many turns as it is
told, so that one compilation serves runs of any length. On a CPU each is a call
of its own: convolutions inside of loops are what XLA computes there without its
fast kernels, 6 to 18 times as slowly in a step of Network in Network. What each
update gives is kept, so that the first that diverged is known.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_roots.surgery import loss_weights
from keras_roots.training.config import Config
from keras_roots.training.on_jax import images
from keras_roots.training.on_jax.images import Images

MOST = 1000  # Updates in one call.
# What an update gives: sums as in `training.steps.SUMS`, and the norm of its gradients.
_VALUES = 5
_PREDICTIONS = "predictions"


class Weights(NamedTuple):
    """Values of a model's variables, or of their moving averages.

    Attributes:
        trainable: of `model.trainable_variables`.
        fixed: of `model.non_trainable_variables`; of averages, None in the place
            of what is no float.
    """

    trainable: list
    fixed: list


class Held(NamedTuple):
    """All that training changes.

    Attributes:
        weights: of the model.
        optimizer: values of `optimizer.variables`.
        averages: of the model's weights; None without `ema_decay`.
    """

    weights: Weights
    optimizer: list
    averages: Weights | None


class Steps:
    """The model of a configuration with what trains it.

    Args:
        config: the configuration.
        model: of `network.for_training`.
        optimizer: of `optimization.make`.
        classes: number of classes.
        looped: whether many are one program; by default where that is fast.

    Attributes:
        held: the state.
    """

    def __init__(
        self,
        config: Config,
        model: keras.Model,
        optimizer,
        classes: int,
        *,
        looped: bool | None = None,
    ):
        self.config, self.classes = config, classes
        self._model, self._optimizer = model, optimizer
        optimizer.build(model.trainable_variables)
        self._fixed_floats = ["float" in str(v.dtype) for v in model.non_trainable_variables]
        # Copies: each update overwrites them where they are.
        weights = Weights(
            _copied(model.trainable_variables), _copied(model.non_trainable_variables)
        )
        averages = self._averaged(jax.tree.map(jnp.copy, weights)) if config.ema_decay else None
        self.held = Held(weights, _copied(optimizer.variables), averages)
        options: dict[str, Any] = {}
        if config.deterministic and jax.default_backend() == "gpu":
            options["compiler_options"] = {"xla_gpu_deterministic_ops": True}
        self._looped = jax.default_backend() != "cpu" if looped is None else looped
        self._update = jax.jit(self._updated, donate_argnums=0, **options)
        self._updates = jax.jit(self._updated_often, donate_argnums=0, **options)
        self._batch = jax.jit(self._evaluated, **options)
        self._batches = jax.jit(self._evaluated_often, **options)
        self._orders = functools.lru_cache(maxsize=1)(self._drawn_orders)
        self._is_finite = jax.jit(_all_finite)

    @property
    def model(self) -> keras.Model:
        """The model, with the weights of now."""
        weights = self.held.weights
        for variables, values in (
            (self._model.trainable_variables, weights.trainable),
            (self._model.non_trainable_variables, weights.fixed),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(jnp.copy(value))
        return self._model

    def train(self, data: Images, first: int, count: int) -> np.ndarray:
        """Does updates `first` to before `first + count`, of one epoch of the run.

        Args:
            count: at most `MOST`.

        Returns:
            float64 [count, 5], for each the sums that `training.steps.SUMS`
            begins with, and the norm of its gradients.
        """
        epoch, place = divmod(first * self.config.batch_size, len(data.labels))
        orders = self._orders(epoch, len(data.labels))
        if self._looped:
            self.held, found = self._updates(self.held, data, orders, epoch, place, count)
            return np.asarray(found[:count], np.float64)
        rows = []
        for number in range(count):
            at = place + number * self.config.batch_size
            self.held, row = self._update(self.held, data, orders, epoch, at)
            rows.append(row)
        return np.asarray(rows, np.float64)

    def _drawn_orders(self, epoch: int, size: int) -> jax.Array:
        """Those of an epoch and the next, in which updates of one epoch of the run may end."""
        return images.orders(self.config.seed, epoch + jnp.arange(2), size)

    def evaluate(self, data: Images, first: int, count: int) -> np.ndarray:
        """Sums over some batches of the examples in order: float64 [4], as of `train`."""
        size, weights = self.config.batch_size, self.held.weights
        if self._looped:
            rows = self._batches(weights, data, first * size, count)[:count]
        else:
            rows = [self._batch(weights, data, (first + n) * size) for n in range(count)]
        return np.asarray(rows, np.float64).sum(axis=0)

    def is_finite(self) -> bool:
        """Whether all of the model's variables are numbers."""
        return bool(self._is_finite(self.held.weights))

    def swap_averages(self) -> None:
        """Exchanges the weights with their moving averages, if there are any."""
        weights, optimizer, averages = self.held
        if averages is not None:
            fixed = [
                value if average is None else average
                for value, average in zip(weights.fixed, averages.fixed, strict=True)
            ]
            self.held = Held(Weights(averages.trainable, fixed), optimizer, self._averaged(weights))

    def _averaged(self, weights: Weights) -> Weights:
        """The weights without those that have no average."""
        fixed = [
            value if is_float else None
            for value, is_float in zip(weights.fixed, self._fixed_floats, strict=True)
        ]
        return Weights(weights.trainable, fixed)

    def arrays(self) -> dict[str, np.ndarray]:
        """The state, by names that the same configuration has again."""
        return {
            name: np.asarray(value)
            for name, value in zip(self._names(), self._leaves(), strict=True)
        }

    def assign(self, arrays: dict[str, np.ndarray]) -> None:
        """Takes such a state.

        Raises:
            ValueError: it is of other names, shapes or types.
        """
        names, leaves = self._names(), self._leaves()
        values = []
        for name, leaf in zip(names, leaves, strict=True):
            value = arrays.get(name)
            if value is None or (value.shape, value.dtype) != (leaf.shape, leaf.dtype):
                found = "nothing" if value is None else f"{value.dtype} {list(value.shape)}"
                raise ValueError(
                    f"expected {name} as {leaf.dtype} {list(leaf.shape)}, found {found}"
                )
            values.append(jnp.array(value))  # A copy, as it will be overwritten.
        unknown = sorted(set(arrays) - set(names))
        if unknown:
            raise ValueError(f"it holds {unknown[0]}, which this network has not")
        self.held = jax.tree.unflatten(jax.tree.structure(self.held), values)

    def _leaves(self) -> list:
        return jax.tree.leaves(self.held)

    def _names(self) -> list[str]:
        model, optimizer = self._model, self._optimizer
        # Paths begin with names that Keras numbers anew in each process.
        trainable = _named("trainable", model.trainable_variables)
        fixed = _named("fixed", model.non_trainable_variables)
        names = [*trainable, *fixed, *_named("optimizer", optimizer.variables)]
        if self.held.averages is not None:
            floats = [n for n, is_float in zip(fixed, self._fixed_floats, strict=True) if is_float]
            names += [f"average/{name}" for name in (*trainable, *floats)]
        return names

    def _updated_often(self, held: Held, data: Images, orders, epoch, place, count):
        """`count` times `_updated`: the state after it, and what each gave."""

        def update(number, carried):
            held, rows = carried
            at = place + number * self.config.batch_size
            held, row = self._updated(held, data, orders, epoch, at)
            return held, rows.at[number].set(row)

        return jax.lax.fori_loop(0, count, update, (held, jnp.zeros((MOST, _VALUES))))

    def _updated(self, held: Held, data: Images, orders, epoch, place):
        """One update by the examples from `place` of `epoch` on; both count from 0."""
        config, size = self.config, len(data.labels)
        places = place + jnp.arange(config.batch_size)
        later, places = places // size, places % size
        examples = orders[later, places]
        drawn = images.uniforms(config.seed, epoch + later, examples)
        pixels = images.augmented(data.pixels[examples], drawn, config)
        return self.updated_by(held, pixels, data.labels[examples])

    def updated_by(self, held: Held, pixels, labels) -> tuple[Held, jax.Array]:
        """One update, to be traced: the state after it, and `_VALUES`.

        Args:
            pixels: float32 [batch, size, size, 3] of 0 to 255.
            labels: int32 [batch].
        """
        config, weights = self.config, held.weights

        def loss_of(trainable):
            outputs, fixed = self._model.stateless_call(
                trainable, weights.fixed, pixels, training=True
            )
            losses, logits = self._losses(outputs, labels)
            return jnp.mean(losses), (fixed, _sums(losses, logits, labels, jnp.ones_like(losses)))

        gradients, (fixed, sums) = jax.grad(loss_of, has_aux=True)(weights.trainable)
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(each)) for each in gradients))
        trainable, optimizer = self._optimizer.stateless_apply(
            held.optimizer, gradients, weights.trainable
        )
        after = Weights(trainable, fixed)
        averages = held.averages
        if averages is not None:
            # Early averages would be of the initial weights, mostly.
            step = (held.optimizer[self._iterations()] + 1).astype(jnp.float32)
            decay = jnp.minimum(config.ema_decay, (1 + step) / (10 + step))
            averages = jax.tree.map(
                lambda average, value: average - (1 - decay) * (average - value),
                averages,
                self._averaged(after),
            )
        return Held(after, optimizer, averages), jnp.append(sums, norm)

    def _iterations(self) -> int:
        """Its place among the optimizer's variables."""
        places = [v is self._optimizer.iterations for v in self._optimizer.variables]
        return places.index(True)

    def _losses(self, outputs, labels):
        """Of each example, auxiliary heads included; and the logits of the predictions."""
        targets = jax.nn.one_hot(labels, self.classes)
        smoothing = self.config.label_smoothing
        if smoothing:
            targets = targets * (1 - smoothing) + smoothing / self.classes
        if not isinstance(outputs, dict):
            return _cross_entropy(targets, outputs), outputs.astype(jnp.float32)
        losses = sum(
            weight * _cross_entropy(targets, outputs[name])
            for name, weight in loss_weights(self._model).items()
        )
        return losses, outputs[_PREDICTIONS].astype(jnp.float32)

    def _evaluated_often(self, weights: Weights, data: Images, place, count):
        def evaluate(number, rows):
            row = self._evaluated(weights, data, place + number * self.config.batch_size)
            return rows.at[number].set(row)

        return jax.lax.fori_loop(0, count, evaluate, jnp.zeros((MOST, _VALUES - 1)))

    def _evaluated(self, weights: Weights, data: Images, place):
        """Sums of the batch that begins with the example at `place`."""
        size, batch = len(data.labels), self.config.batch_size
        places = place + jnp.arange(batch)
        examples = jnp.minimum(places, size - 1)
        labels = data.labels[examples]
        outputs, _ = self._model.stateless_call(
            *weights, data.pixels[examples].astype(jnp.float32), training=False
        )
        logits = outputs[_PREDICTIONS] if isinstance(outputs, dict) else outputs
        logits = logits.astype(jnp.float32)
        losses = _cross_entropy(jax.nn.one_hot(labels, self.classes), logits)
        # What fills up the last batch has weight 0.
        return _sums(losses, logits, labels, (places < size).astype(jnp.float32))


def _copied(variables) -> list:
    return [jnp.copy(variable.value) for variable in variables]


def _named(kind: str, variables) -> list[str]:
    return [f"{kind}/{number:03d}-{v.name}" for number, v in enumerate(variables)]


def _all_finite(weights: Weights):
    floats = [v for v in jax.tree.leaves(weights) if jnp.issubdtype(v.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(value)) for value in floats]))


def _cross_entropy(targets, logits):
    return -jnp.sum(targets * jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1)


def _sums(losses, logits, labels, weights):
    """What a batch adds to loss, top-1, top-5 and examples: float32 [4]."""
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    place = jnp.arange(logits.shape[1])
    # Of equal ones the first comes first.
    before = (logits > own) | ((logits == own) & (place < labels[:, None]))
    rank = jnp.sum(before, axis=1)
    top1, top5 = (jnp.sum((rank < k) * weights) for k in (1, 5))
    return jnp.stack([jnp.sum(losses * weights), top1, top5, jnp.sum(weights)])
