"""Which lowering each pass of a convolution gets in a model that runs, and why.

Where it runs is its *context*:

* tensorflow-cpu: TensorFlow's kernels on a CPU, which are oneDNN's;
* xla-cpu: compiled by XLA for a CPU, from TensorFlow or JAX;
* accelerator: a GPU or TPU. Nothing was measured there yet, so native, as
  cuDNN has all of it.

On CPUs the choice follows the measurements that come with the package, of the
most similar layer; where there is none, a rule that was read off them. The
context is found when a layer is traced. A `tf.function` that was traced
outside of XLA is not traced again where it is called inside: trace it under
`traced_for("xla-cpu")` then.
"""

import contextlib
import contextvars
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping

import keras

from keras_roots.layer_shape import LayerShape
from keras_roots.lowering import measured, ways
from keras_roots.lowering.passes import DIRECTIONS, Plan
from keras_roots.lowering.ways import Geometry, Lowering

CONTEXTS = ("tensorflow-cpu", "xla-cpu", "accelerator")
# Of a whole network: groups merged until they are wide enough, as each layer needs it.
PACKED = "packed"
# Another lowering than native must be faster by this.
_MARGIN = 0.03
# So many channels a group, and filters, `taps` reads at most.
_FEW = 4
# So many channels a group are enough for a dense convolution of their own.
_ENOUGH = 16
_MOST_MERGED = 16

_forced: contextvars.ContextVar[Lowering | None] = contextvars.ContextVar(
    "keras_roots_lowering", default=None
)
_context: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "keras_roots_context", default=None
)


@contextlib.contextmanager
def forced(lowering: Lowering) -> Iterator[None]:
    """Every grouped convolution traced inside this block takes `lowering` in all passes.

    Args:
        lowering: of `ways`; or "packed": groups merged until they have 16
            channels or filters.

    Raises:
        ValueError: unknown lowering.
    """
    if lowering != PACKED:
        ways.check(lowering)
    token = _forced.set(lowering)
    try:
        yield
    finally:
        _forced.reset(token)


@contextlib.contextmanager
def traced_for(context: str) -> Iterator[None]:
    """What is traced inside this block is for `context`, wherever it is traced.

    Args:
        context: of `CONTEXTS`.

    Raises:
        ValueError: unknown context.
    """
    check_context(context)
    token = _context.set(context)
    try:
        yield
    finally:
        _context.reset(token)


def on_cpu(context: str | None) -> bool:
    return context in ("tensorflow-cpu", "xla-cpu")


def check_context(context: str) -> None:
    if context not in CONTEXTS:
        raise ValueError(f"Expected a context of: {', '.join(CONTEXTS)}. Received: {context!r}")


@dataclasses.dataclass(frozen=True)
class Choice:
    """The lowering of one pass, and the reason in words."""

    lowering: Lowering
    reason: str


def plan(inputs, shape: LayerShape, geometry: Geometry, lowering: Lowering = "auto") -> Plan | None:
    """The lowering of each pass for a call in the present context.

    Args:
        inputs: what the layer is called on.
        shape: of the layer; height and width may be None.
        geometry: of the layer.
        lowering: the layer's own: "auto", or one for all its passes.

    Returns:
        None where Keras's own convolution is to be taken.

    Raises:
        ValueError: the layer's own lowering is not possible here.
    """
    grouped = shape.groups > 1
    asked = _forced.get() if grouped else None
    if asked is None and lowering != "auto":
        asked = lowering
    context = context_of(inputs)
    if asked == PACKED:
        asked = _packed_to_enough(shape, "split" if context == "xla-cpu" else "native")
    if asked is not None:
        ways.check(asked, shape.groups)
        return Plan.of(asked, plain=on_cpu(context) and asked != "native")
    if context is None or (context == "accelerator" and not grouped):
        return None
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    unmeasured = geometry.data_format == "channels_first" or dtype != "float32"
    if context == "tensorflow-cpu" and (grouped or unmeasured):
        # What oneDNN does not compute here, other kernels have without groups and channels last.
        if not native_differentiable_on_cpu(dtype, geometry.data_format):
            return Plan.of(_packed_to_enough(shape, "split") if grouped else "native", plain=True)
        if unmeasured:
            return Plan.of("native")
    if not grouped and unmeasured:
        return None
    forward, of_input, of_kernel = (
        choose(shape, context, direction, dtype, geometry.data_format).lowering
        for direction in DIRECTIONS
    )
    return Plan(
        forward,
        of_input,
        of_kernel,
        own_bias_gradient=context == "tensorflow-cpu",
        plain=on_cpu(context),
    )


def choose_here(shape: LayerShape, context: str, direction: str) -> Choice:
    """What `choose` says, where TensorFlow has the kernels for it on this machine.

    In float32, channels last. Without oneDNN TensorFlow has no gradient of a
    grouped convolution, and its graph optimizer fuses one with the bias and
    activation that follow into an operator that has no groups.
    """
    here = context == "tensorflow-cpu" and keras.backend.backend() == "tensorflow"
    grouped = here and shape.groups > 1
    if grouped and not native_differentiable_on_cpu("float32", "channels_last"):
        return Choice(_packed_to_enough(shape, "split"), "by rule: without oneDNN")
    return choose(shape, context, direction)


def choose(
    shape: LayerShape,
    context: str,
    direction: str,
    dtype: str = "float32",
    data_format: str = "channels_last",
) -> Choice:
    """The lowering of one pass of a layer.

    Args:
        shape: of the layer; height and width may be None.
        context: of `CONTEXTS`.
        direction: of `passes.DIRECTIONS`.
        dtype, data_format: what is computed; CPUs have measurements of the
            default ones, which stand for others (see `passes.Plan.plain`).
    """
    check_context(context)
    if context != "accelerator":
        dtype, data_format = "float32", "channels_last"
    return _choose(shape, context, direction, dtype, data_format)


@functools.lru_cache(maxsize=4096)
def _choose(
    shape: LayerShape, context: str, direction: str, dtype: str, data_format: str
) -> Choice:
    possible = candidates(shape, context, direction)
    if len(possible) == 1:
        return Choice(possible[0], "the only one")
    if shape.groups == 1 and context == "xla-cpu":
        return _in_a_whole_network(direction)
    kind = (context, direction, dtype, data_format)
    similar = [
        row
        for row in measured.brought().rows
        if (row.context, row.direction, row.dtype, row.data_format) == kind
        and alike(row.shape, shape)
    ]
    for row in sorted(similar, key=lambda row: _distance(row.shape, shape)):
        times = {
            translated: time
            for name, time in row.milliseconds.items()
            if (translated := _translated(name, row.shape.groups, shape.groups)) in possible
        }
        if times:
            best = fastest(times)
            text = f"{best} {times[best]:.3f} ms"
            if best != "native" and "native" in times:
                text += f", native {times['native']:.3f} ms"
            return Choice(best, f"{text}, measured with batch {row.batch} of {row.shape}")
    return _by_rule(shape, context, direction, possible)


def _in_a_whole_network(direction: str) -> Choice:
    """A 1x1 convolution under XLA, of which the layer alone tells too little.

    A convolution's gradients read transposed copies of the images, and what
    made these is computed again for each.
    """
    if direction == "forward":
        return Choice("native", "by rule: nothing is gained otherwise")
    return Choice("product", "by rule: needs no transposed copies of the images")


def fastest(milliseconds: Mapping[str, float]) -> Lowering:
    """The fastest lowering; native, unless another is faster by more than noise."""
    best = min(milliseconds, key=milliseconds.__getitem__)
    native = milliseconds.get("native", math.inf)
    return "native" if native <= milliseconds[best] * (1 + _MARGIN) else best


def candidates(shape: LayerShape, context: str, direction: str) -> list[Lowering]:
    """The lowerings that come into question, those that take seconds left out."""
    groups, width = shape.groups, max(shape.group_widths)
    if groups == 1:
        # On an accelerator both are the same product, and TensorFlow fuses what follows a
        # convolution, but not what follows a reshaped product. Its strided slices are slow.
        possible = shape.kernel_size == (1, 1) and (
            context == "xla-cpu"
            or (context == "tensorflow-cpu" and direction != "forward" and shape.strides == (1, 1))
        )
        return ["native", "product"] if possible else ["native"]
    then = "split" if context == "xla-cpu" else "native"
    merged = [
        name
        for name in ways.packings(groups, then)
        if groups // ways.packed_groups(name, groups) <= _MOST_MERGED
    ]
    if context == "tensorflow-cpu":
        return ["native", *merged]
    if context == "accelerator":
        return ["native", *(["split"] if groups <= _MOST_MERGED else []), *merged]
    found = ["native"] if direction == "forward" else []  # Its gradient is what stock Keras has.
    if min(shape.group_widths) >= _FEW:
        found.append("split")
    found += merged
    stride_1 = shape.strides == (1, 1)
    if (
        width <= _FEW
        and None not in shape.input_shape
        and (direction == "forward" or (direction == "input_gradient" and stride_1))
    ):
        found.append("taps")
    return found or ["split"]


def alike(one: LayerShape, other: LayerShape) -> bool:
    """Whether the same lowering can be expected to be the fastest for both."""
    if (one.groups == 1) != (other.groups == 1) or one.kernel_size != other.kernel_size:
        return False
    # A dense layer's widths are many, and matter less.
    return one.groups == 1 or one.group_widths == other.group_widths


def _distance(one: LayerShape, other: LayerShape) -> tuple[bool, float]:
    def far(a, b) -> float:
        return 0.0 if a is None or b is None else abs(math.log(a / b))

    sizes = sum(map(far, one.input_shape, other.input_shape))
    return one.strides != other.strides, sizes + far(one.filters, other.filters)


def _translated(lowering: Lowering, groups: int, here: int) -> Lowering:
    """The lowering that merges as many groups where there are other numbers of them."""
    merged = groups // ways.packed_groups(lowering, groups)
    if merged == 1:
        return lowering
    return ways.packed(here, here // math.gcd(here, merged), ways.after_packing(lowering))


def _by_rule(shape: LayerShape, context: str, direction: str, possible: list[Lowering]) -> Choice:
    """For layers unlike all that were measured."""
    if shape.groups == 1:
        product = direction == "kernel_gradient"
        return Choice("product" if product else "native", "by rule: 1x1, unlike those measured")
    if context != "xla-cpu":
        return Choice("native", f"by rule: {'oneDNN' if on_cpu(context) else 'cuDNN'} has it")
    if "taps" in possible:
        return Choice("taps", f"by rule: {max(shape.group_widths)} channels a group are few")
    return Choice(
        _packed_to_enough(shape, "split"), f"by rule: groups of {_ENOUGH} channels or more"
    )


def _packed_to_enough(shape: LayerShape, then: Lowering) -> Lowering:
    width, groups = min(shape.group_widths), shape.groups
    merged = next(
        (n for n in range(1, groups + 1) if groups % n == 0 and n * width >= _ENOUGH), groups
    )
    return ways.packed(groups, groups // merged, then)


def context_of(inputs) -> str | None:
    """Where a layer that is called on `inputs` will run; None where that is left to Keras."""
    if (told := _context.get()) is not None:
        return told
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        if not isinstance(inputs, jax.core.Tracer):
            return None  # Operation by operation.
        return "xla-cpu" if jax.default_backend() == "cpu" else "accelerator"
    if backend != "tensorflow":
        return None
    if _device_type(inputs) != "CPU":
        return "accelerator"
    return "xla-cpu" if _inside_xla() else "tensorflow-cpu"


def _device_type(inputs) -> str:
    """The type of device that will compute: "CPU", "GPU" or another."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return tf.DeviceSpec.from_string(inputs.device).device_type or "CPU"
    # An operation made here carries the device scope that the convolution will be under.
    scope = tf.DeviceSpec.from_string(tf.no_op().device).device_type
    if scope:
        return scope
    kinds = [kind for kind in ("TPU", "GPU") if tf.config.list_logical_devices(kind)]
    return kinds[0] if kinds else "CPU"


def _inside_xla() -> bool:
    """Whether the graph being traced will be compiled by XLA."""
    try:
        from tensorflow.python.framework import ops
        from tensorflow.python.ops import control_flow_util

        return control_flow_util.GraphOrParentsInXlaContext(ops.get_default_graph())
    except (ImportError, AttributeError):
        # Private to TensorFlow. Without it native is taken: slower under XLA, never wrong.
        return False


@functools.cache
def native_differentiable_on_cpu(dtype: str, data_format: str, *, grouped: bool = True) -> bool:
    """Tries it: a small convolution, grouped or not, and its gradients.

    That depends on oneDNN (in the build, switched on, and for this type on
    this processor), which TensorFlow says nowhere in public: it may believe
    that the processor has a type, and oneDNN refuse it.
    """
    import tensorflow as tf

    # No smaller: a 1x1 convolution takes another path in TensorFlow, and works where this fails.
    channels_last = data_format == "channels_last"
    inputs_shape, outputs_shape = (
        ([1, 5, 5, 4], [1, 3, 3, 4]) if channels_last else ([1, 4, 5, 5], [1, 4, 3, 3])
    )
    geometry = Geometry(data_format=data_format)
    # A gradient tape would record nothing here, so the gradients' operations are called themselves.
    with tf.init_scope(), tf.device("/CPU:0"):
        inputs, outputs = tf.ones(inputs_shape, dtype), tf.ones(outputs_shape, dtype)
        kernel = tf.ones([3, 3, 2 if grouped else 4, 4], dtype)
        options = {
            "out_backprop": outputs,
            "strides": [1] * 4,
            "padding": "VALID",
            "data_format": "NHWC" if channels_last else "NCHW",
        }
        try:
            ways.convolve(inputs, kernel, geometry, "native")
            tf.raw_ops.Conv2DBackpropInput(input_sizes=inputs_shape, filter=kernel, **options)
            tf.raw_ops.Conv2DBackpropFilter(input=inputs, filter_sizes=kernel.shape, **options)
        except tf.errors.OpError:
            return False
    return True


def cpu_computes(dtype: str) -> bool:
    """Whether TensorFlow's own operators compute in this type on this machine's CPU.

    oneDNN refuses a type for all of them or for none, so a dense convolution
    stands for all. It is the one that raises an error in Python then: a
    product of matrices brings the process down.
    """
    return native_differentiable_on_cpu(dtype, "channels_last", grouped=False)
