"""How convolutions are computed, and who chooses.

Stock Keras on TensorFlow compiles each grouped convolution with XLA, whatever
the device; on a CPU that code is slow, and its gradient twelve times slower
than the dense network's. Here a layer's three passes (forward, the gradient of
its input, that of its kernel) are each computed in the way (`ways`) that was
measured (`measured`) to be the fastest for its shape where it runs (`contexts`,
`choice`), and `passes` puts them together. The kernel keeps its grouped shape
throughout. A TFLite file is one more place to run, which has a forward pass only;
`tuning` measures on the machine at hand.
"""

from typing import TYPE_CHECKING

from keras_roots.lowering.choice import forced, traced_for

if TYPE_CHECKING:
    from keras_roots.surgery.convolutions import explain

__all__ = ["explain", "forced", "traced_for"]


def __getattr__(name: str):
    # It takes a model, and what takes models stands above what their layers are made of.
    if name == "explain":
        from keras_roots.surgery.convolutions import explain

        return explain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
