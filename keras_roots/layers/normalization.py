"""Normalisations: one that is faster than Keras's, and one that Keras has not.

Of batch normalisation while training on TensorFlow, Keras 3 computes the
moments, the normalisation and their gradients with an operation for each
step, each of which reads and writes the feature maps; TensorFlow's fused
kernel passes over them as few times as it can. XLA, on a CPU, sums up one
channel after the other, for which it reads all of the feature maps each time;
summed up in stages, they are read once.
"""

import functools

import keras

from keras_roots.lowering import choice


@keras.saving.register_keras_serializable(package="keras_roots")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that is fast to train on CPUs.

    The same arguments, weights, weight names and results. What neither the
    fused kernel nor the staged sums do is left to Keras: inference, other
    backends, renormalisation, masks, float64, inputs that are not
    [batch, height, width, channels] normalised over channels. So is
    `synchronized=True`, but among the replicas of a tf.distribute strategy,
    whose parts of a batch are to be equal.
    """

    def call(self, inputs, training=None, mask=None):
        computed = None
        if training and self.trainable and mask is None and self._fusible(inputs):
            context = choice.context_of(inputs)
            if self.synchronized:
                computed = self._over_replicas(inputs)
            elif context == "xla-cpu" and _barrier() is not None:
                computed = self._in_stages(inputs)
            elif keras.backend.backend() == "tensorflow":
                computed = self._fused(inputs, context)
        if computed is None:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = computed
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            previous = keras.ops.cast(average, "float32")
            average.assign(previous * self.momentum + value * (1.0 - self.momentum))
        return keras.ops.cast(outputs, self.compute_dtype)

    def _scale_and_offset(self, channels: int):
        gamma = keras.ops.cast(self.gamma, "float32") if self.scale else keras.ops.ones([channels])
        beta = keras.ops.cast(self.beta, "float32") if self.center else keras.ops.zeros([channels])
        return gamma, beta

    def _fused(self, inputs, context: str | None):
        import tensorflow as tf

        channels = inputs.shape[-1]
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if context == "tensorflow-cpu" and not choice.cpu_computes(dtype):
            inputs = tf.cast(inputs, tf.float32)
        gamma, beta = self._scale_and_offset(channels)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        # The kernel's variance is divided by n - 1 (by 1 where n is 1); Keras's by n.
        n = tf.cast(tf.size(inputs, out_type=tf.int64) // channels, tf.float32)
        return outputs, mean, variance * tf.maximum(n - 1, 1) / n

    def _over_replicas(self, inputs):
        """By the moments of all replicas' images.

        Keras takes the difference of two large sums for the variance, which is
        not what a single device computes; and it exchanges one more tensor.
        """
        import tensorflow as tf

        replica, mean = tf.distribute.get_replica_context(), tf.distribute.ReduceOp.MEAN
        gamma, beta = self._scale_and_offset(inputs.shape[-1])
        x = tf.cast(inputs, tf.float32)
        average = replica.all_reduce(mean, tf.reduce_mean(x, [0, 1, 2]))
        deviation = x - average
        variance = replica.all_reduce(mean, tf.reduce_mean(tf.square(deviation), [0, 1, 2]))
        outputs = deviation * (tf.math.rsqrt(variance + self.epsilon) * gamma) + beta
        return outputs, average, variance

    def _in_stages(self, inputs):
        gamma, beta = self._scale_and_offset(inputs.shape[-1])
        x = keras.ops.cast(inputs, "float32")
        fixed = keras.ops.stop_gradient(x)
        mean = _mean_in_stages(fixed)
        variance = _mean_in_stages(keras.ops.square(fixed - mean))
        return _normalized(self.epsilon)(x, gamma, beta, mean, variance), mean, variance

    def _fusible(self, inputs) -> bool:
        if self.synchronized and not _among_replicas():
            return False
        return (
            not getattr(self, "renorm", False)
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and keras.backend.standardize_dtype(inputs.dtype) in ("float16", "bfloat16", "float32")
        )


def _among_replicas() -> bool:
    """Whether a replica of a strategy computes this, rather than Keras building a model."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.get_replica_context() is not None and tf.distribute.has_strategy()


def _normalized(epsilon: float):
    """Batch normalisation by given moments, whose gradient knows that they are those of x."""

    def normalized(x, gamma, beta, mean, variance):
        inverse = keras.ops.rsqrt(variance + epsilon)

        def gradients(cotangent):
            standardized = (x - mean) * inverse
            of_beta = _mean_in_stages(cotangent)
            of_gamma = _mean_in_stages(cotangent * standardized)
            of_x = (cotangent - of_beta - standardized * of_gamma) * (inverse * gamma)
            n = keras.ops.cast(keras.ops.prod(keras.ops.shape(x)[:3]), "float32")
            nothing = keras.ops.zeros_like(mean)
            return of_x, of_gamma * n, of_beta * n, nothing, nothing

        return x * (inverse * gamma) + (beta - mean * inverse * gamma), gradients

    return keras.ops.custom_gradient(normalized)


def _mean_in_stages(x):
    """The mean over [batch, height, width], a float32 for each channel.

    XLA would make one sum of several, if they did not stand on the two sides
    of a barrier.
    """

    @keras.ops.custom_gradient
    def mean(x):
        n = keras.ops.cast(keras.ops.prod(keras.ops.shape(x)[:3]), "float32")

        def gradient(cotangent):
            return keras.ops.broadcast_to(cotangent / n, keras.ops.shape(x))

        total = x
        for axis in (2, 1):
            total = _barrier()(keras.ops.sum(total, axis=axis))
        return keras.ops.sum(total, axis=0) / n, gradient

    return mean(x)


@functools.cache
def _barrier():
    """What hands on a tensor that XLA is to have computed there; None where there is no such."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.lax.optimization_barrier
    try:
        from tensorflow.compiler.tf2xla.ops import gen_xla_ops

        operation = gen_xla_ops.xla_optimization_barrier
    except (ImportError, AttributeError):  # Private to TensorFlow.
        return None
    return lambda x: operation([x])[0]


@keras.saving.register_keras_serializable(package="keras_roots")
class LocalResponseNormalization(keras.layers.Layer):
    """AlexNet's normalisation over adjacent channels.

    x / (k + alpha / n * (sum of squares over n adjacent channels)) ** beta, in
    the form of Caffe's reference model. Krizhevsky et al. (NIPS 2012, section
    3.3) do not divide alpha by n, and have k=2.

    Input and output shape: [batch, height, width, channels], or
    [batch, channels, height, width].
    """

    def __init__(
        self, n: int = 5, k: float = 1.0, alpha: float = 1e-4, beta: float = 0.75, **kwargs
    ):
        super().__init__(**kwargs)
        self.n, self.k, self.alpha, self.beta = n, k, alpha, beta
        self.data_format = keras.config.image_data_format()

    def call(self, inputs):
        axis = 3 if self.data_format == "channels_last" else 1
        channels = inputs.shape[axis]
        # A pixel's squares would overflow in float16.
        x = keras.ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        before = self.n // 2
        padding = [(0, 0)] * 4
        padding[axis] = (before, self.n - 1 - before)
        squares = keras.ops.pad(keras.ops.square(x), padding)
        windows = [[slice(None)] * axis + [slice(n, n + channels)] for n in range(self.n)]
        adjacent = (squares[tuple(window)] for window in windows)
        scale = self.k + self.alpha / self.n * sum(adjacent)
        return keras.ops.cast(x * self._power(scale), self.compute_dtype)

    def _power(self, scale):
        if self.beta != 0.75:
            return keras.ops.power(scale, -self.beta)
        root = keras.ops.rsqrt(scale)  # Roots are faster than powers, and XNNPACK has them.
        return root * keras.ops.sqrt(root)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        own = {"n": self.n, "k": self.k, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **own}
