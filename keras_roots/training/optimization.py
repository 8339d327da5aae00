"""Stochastic gradient descent as these networks are trained with it.

Deviations from Keras's: weight decay is added to the gradient, as in Caffe and
Torch, where Keras takes it off the weight; and gradients are summed over
replicas before they are clipped, where Keras clips each replica's.
"""

import keras

from keras_roots.layers import SGD
from keras_roots.training.config import Config


class SummedSGD(SGD):
    """SGD of gradients that have been summed over replicas already.

    Args:
        kernel_decay: times the kernel is added to the gradient of each kernel.
        **kwargs: those of `keras.optimizers.SGD`.
    """

    def __init__(self, kernel_decay: float, **kwargs):
        super().__init__(**kwargs)
        self.kernel_decay = kernel_decay

    def update_step(self, gradient, variable, learning_rate):
        place = self._get_variable_index(variable)
        if self.kernel_decay and self._trainable_variables[place].name == "kernel":
            gradient = gradient + self.kernel_decay * variable
        return super().update_step(gradient, variable, learning_rate)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars  # Keras would sum once more.


class WithWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that begins with a linear rise.

    Args:
        schedule: what follows.
        steps: in which the rate rises to what the schedule then gives.
        start: the step that is the schedule's first.
    """

    def __init__(self, schedule, steps: int, start: int = 0):
        self.schedule, self.steps, self.start = schedule, steps, start

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        highest = keras.ops.cast(self.schedule(self.steps - self.start), "float32")
        rising = highest * (step + 1) / (self.steps + 1)
        following = self.schedule(keras.ops.maximum(step - self.start, 0.0))
        return keras.ops.where(step < self.steps, rising, following)


def learning_rate(config: Config, steps_per_epoch: float, steps: int) -> WithWarmup:
    """The learning rate as a function of the update, counted from 0.

    Args:
        steps_per_epoch: a fraction, where a batch begins in one epoch and ends
            in the next.
        steps: of the whole training.
    """
    peak = config.peak_learning_rate
    warmup = round(config.warmup_epochs * steps_per_epoch)
    schedules = keras.optimizers.schedules
    if config.schedule == "cosine":
        decaying = schedules.CosineDecay(peak, max(1, steps - warmup))
        return WithWarmup(decaying, warmup, start=warmup)
    if config.schedule == "step":
        boundaries = [round(epoch * steps_per_epoch) for epoch in config.decay_epochs]
        values = [peak * config.decay_factor**n for n in range(len(boundaries) + 1)]
        return WithWarmup(
            schedules.PiecewiseConstantDecay([b - 1 for b in boundaries], values), warmup
        )
    rate = config.decay_factor if config.schedule == "inverse" else 0.0
    return WithWarmup(schedules.InverseTimeDecay(peak, steps_per_epoch, rate), warmup)


def make(config: Config, schedule) -> keras.optimizers.Optimizer:
    """The optimizer; in float16 one that scales the loss."""
    optimizer = SummedSGD(
        config.weight_decay,
        learning_rate=schedule,
        momentum=config.momentum,
        nesterov=config.nesterov,
        global_clipnorm=config.clip_norm or None,
    )
    if config.precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
