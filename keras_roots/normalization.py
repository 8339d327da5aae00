"""Normalisations: one that is faster than Keras's, and one that Keras has not.

Of batch normalisation while training on TensorFlow, Keras 3 computes the
moments, the normalisation and their gradients with an operation for each
step, each of which reads and writes the feature maps; TensorFlow's fused
kernel passes over them as few times as it can.
"""

import keras


@keras.saving.register_keras_serializable(package="keras_roots")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that is fast to train on TensorFlow.

    The same arguments, weights, weight names and results. What the fused
    kernel does not do is left to Keras: inference, other backends,
    `synchronized=True`, renormalisation, masks, float64, inputs that are not
    [batch, height, width, channels] normalised over channels.
    """

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable and mask is None and self._fusible(inputs)):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        channels = inputs.shape[-1]
        gamma = tf.cast(self.gamma, tf.float32) if self.scale else tf.ones([channels])
        beta = tf.cast(self.beta, tf.float32) if self.center else tf.zeros([channels])
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
        variance *= tf.maximum(n - 1, 1) / n
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            previous = tf.cast(average, tf.float32)
            average.assign(previous * self.momentum + value * (1.0 - self.momentum))
        return tf.cast(outputs, self.compute_dtype)

    def _fusible(self, inputs) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and not self.synchronized
            and not getattr(self, "renorm", False)
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and keras.backend.standardize_dtype(inputs.dtype) in ("float16", "bfloat16", "float32")
        )


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
        return keras.ops.cast(x * keras.ops.power(scale, -self.beta), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        own = {"n": self.n, "k": self.k, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **own}
