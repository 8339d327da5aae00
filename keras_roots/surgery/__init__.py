"""A model as a graph: what it is made of, and copies of it in which something is different."""

from keras_roots.surgery import auxiliary_heads, convolutions, graph, strides
from keras_roots.surgery.auxiliary_heads import loss_weights, without_auxiliary_heads
from keras_roots.surgery.clone import clone, copy_adapted_state, copy_state, plain_copy
from keras_roots.surgery.convolutions import explain
from keras_roots.surgery.logits import copy_with_logits, softmax_at_end
from keras_roots.surgery.stock import to_stock
from keras_roots.surgery.strides import Stride, output_strides, stride_text
from keras_roots.surgery.temporarily import replaced
from keras_roots.surgery.transfer import transfer_weights

__all__ = [
    "Stride",
    "auxiliary_heads",
    "clone",
    "convolutions",
    "copy_adapted_state",
    "copy_state",
    "copy_with_logits",
    "explain",
    "graph",
    "loss_weights",
    "output_strides",
    "plain_copy",
    "replaced",
    "softmax_at_end",
    "stride_text",
    "strides",
    "to_stock",
    "transfer_weights",
    "without_auxiliary_heads",
]
