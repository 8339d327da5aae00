"""How convolutions are computed, and who chooses.

Stock Keras on TensorFlow compiles each grouped convolution with XLA, whatever
the device; on a CPU that code is slow, and its gradient twelve times slower
than the dense network's. Here a layer's three passes (forward, the gradient of
its input, that of its kernel) are each computed in the way (`ways`) that was
measured (`measured`) to be the fastest for its shape where it runs (`choice`),
and `passes` puts them together. The kernel keeps its grouped shape throughout.

For files, see `keras_roots.export.choice`.
"""

from keras_roots.lowering.choice import forced, traced_for
from keras_roots.lowering.report import explain

__all__ = ["explain", "forced", "traced_for"]
