"""The paper's initialiser: He et al.'s, modified for compound layers.

Weights are drawn from a zero-mean Gaussian of standard deviation
sqrt(2 / n), where n is the *fan-out*. A *compound layer* is several groups of
filters that read the same tensor and whose outputs are concatenated; its n is
the sum over all its groups of height x width x filters.

Sources: He et al., "Delving Deep into Rectifiers", arXiv:1502.01852 (the
backward form); Ioannou et al., "Training CNNs with Low-Rank Filters for
Efficient Image Classification", arXiv:1511.06744 (compound layers).
"""

import math
import numbers
from collections.abc import Sequence

import keras


@keras.saving.register_keras_serializable(package="keras_roots")
class CompoundHeNormal(keras.initializers.RandomNormal):
    """Gaussian of standard deviation sqrt(2 / n), n summed over a compound layer.

    Args:
        filter_groups: (height, width, filters) of *every* group of filters in
            the compound layer, the one to initialise among them. An inception
            module's 1x1 of 64 and 3x3 of 128 filters on one tensor are
            `[(1, 1, 64), (3, 3, 128)]`, and both kernels get this list. None
            takes the kernel itself as the whole layer, which is also right for
            equal filter groups: n = height x width x (filters of all groups).
        seed: an integer or a `keras.random.SeedGenerator`; None draws one.

    Call arguments:
        shape: (..., channels per group, filters) of a convolution's kernel, or
            (inputs, units) of a dense layer's.
    """

    def __init__(
        self,
        filter_groups: Sequence[tuple[int, int, int]] | None = None,
        seed: int | keras.random.SeedGenerator | None = None,
    ):
        if filter_groups is not None:
            filter_groups = tuple(tuple(group) for group in filter_groups)  # type: ignore[misc]
            if not filter_groups or not all(
                len(group) == 3 and all(isinstance(n, numbers.Integral) and n > 0 for n in group)
                for group in filter_groups
            ):
                raise ValueError(
                    "Expected filter_groups as (height, width, filters) of each group, such as "
                    f"[(1, 1, 64), (3, 3, 128)]. Received: {filter_groups}"
                )
        self.filter_groups = filter_groups
        super().__init__(mean=0.0, stddev=0.0, seed=seed)

    def fan_out(self, shape: Sequence[int]) -> int:
        """n, in connections: what one input pixel's channel reaches."""
        if self.filter_groups is not None:
            return sum(math.prod(group) for group in self.filter_groups)
        if len(shape) < 2:
            raise ValueError(
                f"Expected a kernel of two dimensions or more. Received: shape={tuple(shape)}"
            )
        return math.prod(shape[:-2]) * shape[-1]

    def __call__(self, shape, dtype=None):
        stddev = math.sqrt(2 / self.fan_out(shape))
        return keras.random.normal(shape, 0.0, stddev, dtype=dtype, seed=self.seed)

    def get_config(self):
        config = super().get_config()
        return {"filter_groups": self.filter_groups, "seed": config["seed"]}
