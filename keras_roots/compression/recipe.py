"""Which ways of compression are taken, one after the other."""

import dataclasses

from keras_roots.compression import clustering, pruning
from keras_roots.compression.preserved import Preserve
from keras_roots.compression.selection import DEFAULT

TRAINED = "none"
DISTILLED = "distilled"
TUNED = "tuned"
PRUNED = "pruned"
CLUSTERED = "clustered"
BOTH = "pruned, clustered"
# Kinds of files: of real numbers; rounded after training, as `export_tflite` does; trained with
# rounding, ranges included; and the weights of the latter, rounded as those of the second.
FLOAT32, INT8, QAT, INT8_AFTER_QAT = "float32", "int8", "int8, QAT", "int8 after QAT"
# How each kind of weights is fine-tuned with the rounding of int8, and what it is called.
PRESERVED: dict[str, Preserve] = {PRUNED: "sparsity", CLUSTERED: "clusters", BOTH: "both"}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is done to a network.

    Attributes:
        sparsity: of pruning; None: no pruning.
        schedule: of pruning; see `pruning.prune`.
        clusters: of clustering; None: no clustering.
        qat: whether to train with the rounding of int8, too.
        every: each combination of these by itself, not only all together; and
            beside them the same fine-tuning without any.
        skip: layers that are neither pruned nor clustered; see `selection`.

    Raises:
        ValueError: an argument is out of range, or nothing is to be done.
    """

    sparsity: float | None = None
    schedule: pruning.Schedule = "polynomial"
    clusters: int | None = None
    qat: bool = False
    every: bool = False
    skip: str | tuple[str, ...] = DEFAULT

    def __post_init__(self):
        if self.sparsity is not None:
            pruning.check(self.sparsity, self.schedule)
        if self.clusters is not None:
            clustering.check(self.clusters, preserve_sparsity=self.sparsity is not None)
        if self.sparsity is None and self.clusters is None and not self.qat:
            raise ValueError(
                "Nothing is to be compressed: give a sparsity=..., a number of clusters=... or "
                "qat=True, quantisation-aware training."
            )

    def weights(self) -> tuple[str, ...]:
        """The kinds of weights that there will be, beside those that were given."""
        ways = [PRUNED] * (self.sparsity is not None) + [CLUSTERED] * (self.clusters is not None)
        if len(ways) == 2:
            # The last is made from the first.
            return (TUNED, PRUNED, CLUSTERED, BOTH) if self.every else (PRUNED, BOTH)
        return (TUNED, *ways) if self.every else tuple(ways)

    def reported(self) -> tuple[str, ...]:
        """Those of which files are made."""
        return self.weights() if self.every else self.weights()[-1:]

    def trained_with_rounding(self) -> tuple[str, ...]:
        """The kinds of weights from which quantisation-aware training begins."""
        if not self.qat:
            return ()
        if self.every:
            return (TRAINED, *(each for each in self.weights() if each != TUNED))
        return self.weights()[-1:] or (TRAINED,)

    def as_dict(self) -> dict[str, object]:
        """As JSON takes it."""
        found = dataclasses.asdict(self)
        return {**found, "skip": found["skip"] if isinstance(found["skip"], str) else [*self.skip]}


def before(weights: str) -> str:
    """The kind of weights that another is made from."""
    return PRUNED if weights == BOTH else TRAINED
