"""How convolutions are computed, and who chooses.

Stock Keras on TensorFlow compiles each grouped convolution with XLA, whatever
the device; on a CPU that code is slow, and its gradient twelve times slower
than the dense network's. Here a layer's three passes (forward, the gradient of
its input, that of its kernel) are each computed in the way (`ways`) that was
measured (`measured`) to be the fastest for its shape where it runs (`contexts`,
`choice`), and `passes` puts them together. The kernel keeps its grouped shape
throughout. A TFLite file is one more place to run, which has a forward pass only;
`tuning` measures on the machine at hand. `keras_roots.lowering.explain(model)`
says what each layer gets: it takes a model, so it stands in
`keras_roots.surgery`, and the package puts it here.
"""

from keras_roots.lowering import choice, contexts, passes, report, tuning, ways
from keras_roots.lowering.choice import PACKED, forced, traced_for
from keras_roots.lowering.contexts import MOST, Choice
from keras_roots.lowering.layer_shape import LayerShape, Padding, same_padding
from keras_roots.lowering.measured import Measurement, Measurements
from keras_roots.lowering.passes import DIRECTIONS
from keras_roots.lowering.report import Explanation

__all__ = [
    "DIRECTIONS",
    "MOST",
    "PACKED",
    "Choice",
    "Explanation",
    "LayerShape",
    "Measurement",
    "Measurements",
    "Padding",
    "choice",
    "contexts",
    "forced",
    "passes",
    "report",
    "same_padding",
    "traced_for",
    "tuning",
    "ways",
]
