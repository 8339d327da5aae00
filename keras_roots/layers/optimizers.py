"""Optimizers: one that is Keras's own, and faster on TensorFlow.

Keras 3 computes an update with an operation for each step of its formula,
each of which reads and writes as many numbers as the network has parameters.
TensorFlow has kernels that update a variable and its momentum in one pass.
"""

import keras


@keras.saving.register_keras_serializable(package="keras_roots")
class SGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD` that updates each variable in one pass on TensorFlow.

    The same arguments, state and results, to rounding. What TensorFlow's
    kernels do not do is left to Keras: other backends, sparse gradients.
    """

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() != "tensorflow":
            return super().update_step(gradient, variable, learning_rate)
        import tensorflow as tf

        if isinstance(gradient, tf.IndexedSlices):
            return super().update_step(gradient, variable, learning_rate)
        target = _tensorflow_variable(variable)
        gradient, rate = (tf.cast(value, target.dtype) for value in (gradient, learning_rate))
        if self.momentum == 0:
            return tf.raw_ops.ResourceApplyGradientDescent(
                var=target.handle, alpha=rate, delta=gradient
            )
        momentum = _tensorflow_variable(self.momentums[self._get_variable_index(variable)])
        return tf.raw_ops.ResourceApplyKerasMomentum(
            var=target.handle,
            accum=momentum.handle,
            lr=rate,
            grad=gradient,
            momentum=tf.cast(self.momentum, target.dtype),
            use_nesterov=self.nesterov,
        )


def _tensorflow_variable(variable):
    return variable.value if isinstance(variable, keras.Variable) else variable
