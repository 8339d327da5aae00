"""One update, and one batch of an evaluation, over the replicas of a strategy.

All arithmetic is that of one device with the whole batch: a loss is the mean
over the batch, whatever the number of replicas and pieces; gradients are
summed, clipped, and applied once. Only what dropout leaves out is each
replica's own.
"""

from typing import Any

import keras

from keras_roots.data import augmentation
from keras_roots.surgery import loss_weights
from keras_roots.training.config import Config

# What a step returns, summed over replicas: of the loss, of examples whose class is right, right
# among the first five, of examples; and of those who ask for an end.
SUMS = ("loss", "top1", "top5", "examples", "stops")
_PREDICTIONS = "predictions"
_SEEDS_APART = 7_368_787  # Of replicas: a prime, which two seeds are unlikely to be.


class Steps:
    """The model of a configuration with what trains it.

    Args:
        config: the configuration.
        strategy: of tf.distribute, in whose scope the others were made.
        model: of `network.for_training`.
        optimizer: of `optimization.make`.
        classes: number of classes.

    Attributes:
        averages: the moving averages of the model's variables, or none.
        train: function of (batch, whether this worker asks for an end) to a
            tensor of `SUMS` and the norm of the gradients.
        evaluate: function of the same to a tensor of `SUMS`.
    """

    def __init__(self, config: Config, strategy, model: keras.Model, optimizer, classes: int):
        import tensorflow as tf

        self.config, self.strategy, self.model = config, strategy, model
        self.optimizer, self.classes = optimizer, classes
        self.averages: list[Any] = []
        self._is_finite: Any = None
        with strategy.scope():
            optimizer.build(model.trainable_variables)
            optimizer.built = True
            if config.ema_decay:
                self._averaged = [v for v in model.variables if "float" in str(v.dtype)]
                self.averages = [
                    tf.Variable(keras.ops.convert_to_numpy(v), trainable=False, name=f"average_{n}")
                    for n, v in enumerate(self._averaged)
                ]
        compiled = {"jit_compile": True} if config.jit_compile else {}
        self.train = tf.function(self._train, reduce_retracing=True, **compiled)
        self.evaluate = tf.function(self._evaluate, reduce_retracing=True, **compiled)

    def variables(self) -> list[Any]:
        """All that training changes, as TensorFlow's variables."""
        held = [*self.model.variables, *self.optimizer.variables]
        return [variable.value for variable in held] + self.averages

    def separate_seeds(self) -> None:
        """Gives each replica seeds of its own, lest dropout do the same on all.

        To be called once, before training and after a checkpoint, which holds
        the first replica's, is restored.
        """
        import tensorflow as tf

        states = [v for v in self.model.variables if v.path.endswith("seed_generator_state")]
        if self.strategy.num_replicas_in_sync == 1 or not states:
            return

        def separate():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            for state in states:
                own = tf.cast(replica * _SEEDS_APART, state.value.dtype)
                state.assign(state.value + tf.stack([own, tf.zeros_like(own)]))

        tf.function(lambda: self.strategy.run(separate))()

    def all_have(self, number: int) -> bool:
        """Whether all workers say the same number."""
        import tensorflow as tf

        def replica(number):
            both = tf.stack([number, number * number])
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, both)

        value = tf.constant(float(number), tf.float64)
        run = tf.function(lambda: self._first(self.strategy.run(replica, args=(value,))))
        total, squares = run().numpy()
        # Without a spread the mean of the squares is the square of the mean.
        return bool(squares * self.strategy.num_replicas_in_sync == total * total)

    def is_finite(self):
        """Whether all of the model's variables are numbers, a tensor."""
        import tensorflow as tf

        def replica():
            floats = [v.value for v in self.model.variables if "float" in str(v.dtype)]
            return tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in floats])

        if self._is_finite is None:
            self._is_finite = tf.function(lambda: self._first(self.strategy.run(replica)))
        return self._is_finite()

    def swap_averages(self) -> None:
        """Exchanges the weights with their moving averages, if there are any."""
        import tensorflow as tf

        def exchange(average, variable):
            kept = tf.identity(variable)
            variable.assign(average)
            average.assign(kept)

        for average, variable in zip(self.averages, self._averaged_values(), strict=True):
            self.strategy.extended.update(average, exchange, args=(variable,))

    def _averaged_values(self) -> list[Any]:
        return [variable.value for variable in self._averaged] if self.averages else []

    def _train(self, batch, stop):
        import tensorflow as tf

        sums, norm = self.strategy.run(self._replica_update, args=(batch, stop))
        if self.averages:
            # Early averages would be of the initial weights, mostly.
            step = tf.cast(self.optimizer.iterations.value, tf.float32)
            decay = tf.minimum(self.config.ema_decay, (1 + step) / (10 + step))

            def update(average, variable, decay):
                average.assign_sub((1 - decay) * (average - variable))

            for average, variable in zip(self.averages, self._averaged_values(), strict=True):
                self.strategy.extended.update(average, update, args=(variable, decay))
        return self._first(sums), self._first(norm)

    def _first(self, value):
        """All replicas have the same."""
        return self.strategy.experimental_local_results(value)[0]

    def _replica_update(self, batch, stop):
        import tensorflow as tf

        pieces = self.config.accumulation
        if pieces == 1:
            sums, gradients = self._gradients(batch)
        else:
            sums, gradients = self._accumulated(batch, pieces)
        replica = tf.distribute.get_replica_context()
        sums, *gradients = replica.all_reduce(
            tf.distribute.ReduceOp.SUM, [sums + _asking(stop), *gradients]
        )
        # They are of the sum over the batch by its size: of the mean, unless images are missing.
        correction = self.config.batch_size / tf.maximum(sums[3], 1.0)
        gradients = [gradient * tf.cast(correction, gradient.dtype) for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        if self.config.precision == "float16":
            norm /= tf.cast(self.optimizer.dynamic_scale, tf.float32)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return sums, norm

    def _accumulated(self, batch, pieces: int):
        import tensorflow as tf

        # Not tf.while_loop, in which replicas cannot exchange batch statistics.
        sums, gradients = self._gradients(_piece(batch, 0, pieces))
        for number in range(1, pieces):
            with tf.control_dependencies([sums, *gradients]):  # One after the other.
                part = {k: tf.identity(v) for k, v in _piece(batch, number, pieces).items()}
            more, found = self._gradients(part)
            sums, gradients = sums + more, [a + b for a, b in zip(gradients, found, strict=True)]
        return sums, gradients

    def _gradients(self, batch):
        import tensorflow as tf

        images, targets = inputs_and_targets(batch, self.config, self.classes)
        weights = batch["weights"]
        with tf.GradientTape() as tape:
            outputs = self.model(images, training=True)
            losses, logits = self._losses(outputs, targets)
            loss = tf.reduce_sum(losses * weights) / self.config.batch_size
            if self.config.precision == "float16":
                loss = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(loss, self.model.trainable_variables)
        right = tf.argmax(targets, axis=-1)
        return summed(losses, logits, right, weights), gradients

    def _losses(self, outputs, targets):
        """Of each example, auxiliary heads included; and the logits of the predictions."""
        import tensorflow as tf

        def cross_entropy(logits):
            return tf.nn.softmax_cross_entropy_with_logits(targets, tf.cast(logits, tf.float32))

        if not isinstance(outputs, dict):
            return cross_entropy(outputs), tf.cast(outputs, tf.float32)
        losses = tf.add_n(
            [
                weight * cross_entropy(outputs[name])
                for name, weight in loss_weights(self.model).items()
            ]
        )
        return losses, tf.cast(outputs[_PREDICTIONS], tf.float32)

    def _evaluate(self, batch, stop):
        import tensorflow as tf

        def replica(batch, stop):
            outputs = self.model(tf.cast(batch["images"], tf.float32), training=False)
            logits = outputs[_PREDICTIONS] if isinstance(outputs, dict) else outputs
            logits = tf.cast(logits, tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["labels"], logits)
            sums = summed(losses, logits, batch["labels"], batch["weights"]) + _asking(stop)
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, sums)

        return self._first(self.strategy.run(replica, args=(batch, stop)))


def inputs_and_targets(batch, config: Config, classes: int):
    """What a model is given of a batch to train on, augmented, and what it is to say.

    Returns:
        float32 images, [batch, size, size, 3] of 0 to 255, and the
        probabilities of the classes, [batch, classes].
    """
    import tensorflow as tf

    numbers = augmentation.drawn(batch["uniforms"], config)
    images = augmentation.augmented(batch["images"], numbers)
    targets = tf.one_hot(batch["labels"], classes)
    smoothing = config.label_smoothing
    if smoothing:
        targets = targets * (1 - smoothing) + smoothing / classes
    return augmentation.mixed(images, targets, batch)


def _asking(stop):
    import tensorflow as tf

    return tf.one_hot(SUMS.index("stops"), len(SUMS)) * tf.cast(stop, tf.float32)


def _piece(batch, number: int, pieces: int):
    each = batch["images"].shape[0] // pieces
    return {name: value[number * each : (number + 1) * each] for name, value in batch.items()}


def summed(losses, logits, labels, weights):
    """What a batch adds to `SUMS`: a tensor."""
    import tensorflow as tf

    top1, top5 = (
        tf.reduce_sum(tf.cast(_in_top(labels, logits, k), tf.float32) * weights) for k in (1, 5)
    )
    # Not even times 0 is the loss of an image that could not be read: it may be no number.
    loss = tf.reduce_sum(tf.where(weights > 0, losses * weights, 0.0))
    return tf.stack([loss, top1, top5, tf.reduce_sum(weights), 0.0])


def _in_top(labels, logits, k: int):
    """Whether a label's logit is among the k highest; of equal ones the first comes first."""
    import tensorflow as tf

    own = tf.gather(logits, labels, axis=-1, batch_dims=1)[:, tf.newaxis]
    place = tf.range(tf.shape(logits)[-1], dtype=labels.dtype)
    before = (logits > own) | ((logits == own) & (place < labels[:, tf.newaxis]))
    return tf.reduce_sum(tf.cast(before, tf.int32), axis=-1) < k
