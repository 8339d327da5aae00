"""Which lowering each pass of a convolution gets in a context, and why.

`contexts` has the contexts. The choice follows the measurements that come with
the package, of the most similar layer; where there is none, a rule that was
read off them.

Of a model that runs in Keras, the context is found when a layer is traced. A
`tf.function` that was traced outside of XLA is not traced again where it is
called inside: trace it under `traced_for("xla-cpu")` then.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Iterator, Mapping

import keras

from keras_roots.lowering import contexts, measured, ways
from keras_roots.lowering.contexts import CONTEXTS, Choice
from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.lowering.passes import DIRECTIONS, Plan
from keras_roots.lowering.ways import Geometry, Lowering

# Of a whole network: groups merged until they are wide enough, as each layer needs it.
PACKED = "packed"
# Another lowering than native must be faster by this.
_MARGIN = 0.03

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
        context: of `contexts.KERAS`.

    Raises:
        ValueError: unknown context.
    """
    contexts.check(context)
    token = _context.set(context)
    try:
        yield
    finally:
        _context.reset(token)


def on_cpu(context: str | None) -> bool:
    return context in ("tensorflow-cpu", "xla-cpu")


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
        asked = contexts.packed_to_enough(shape, "split" if context == "xla-cpu" else "native")
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
            return Plan.of(
                contexts.packed_to_enough(shape, "split") if grouped else "native", plain=True
            )
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
        return Choice(contexts.packed_to_enough(shape, "split"), "by rule: without oneDNN")
    return choose(shape, context, direction)


def choose(
    shape: LayerShape,
    context: str,
    direction: str = "forward",
    dtype: str = "float32",
    data_format: str = "channels_last",
) -> Choice:
    """The lowering of one pass of a layer.

    Args:
        shape: of the layer; height and width may be None.
        context: of `contexts.CONTEXTS`.
        direction: of `passes.DIRECTIONS`.
        dtype, data_format: what is computed; CPUs have measurements of one
            type and format, which stand for others (see `passes.Plan.plain`).

    Raises:
        ValueError: unknown context.
    """
    contexts.check(context, CONTEXTS)
    if CONTEXTS[context].dtype is not None:
        dtype, data_format = "float32", "channels_last"
    return _choose(shape, context, direction, dtype, data_format)


@functools.lru_cache(maxsize=4096)
def _choose(
    shape: LayerShape, context: str, direction: str, dtype: str, data_format: str
) -> Choice:
    here = CONTEXTS[context]
    possible = here.candidates(shape, direction)
    if len(possible) == 1:
        return Choice(possible[0], "the only one")
    if (settled := here.settled(shape, direction)) is not None:
        return settled
    there = here.measured_as or context
    dtype = CONTEXTS[there].dtype or dtype
    kind = (there, direction, CONTEXTS[there].threads, dtype, data_format)
    similar = [
        row
        for row in measured.brought().rows
        if (row.context, row.direction, row.threads, row.dtype, row.data_format) == kind
        and _alike(row.shape, shape)
    ]
    for row in sorted(similar, key=lambda row: _distance(row.shape, shape)):
        times = {
            translated: time
            for name, time in row.milliseconds.items()
            if (translated := _translated(name, row.shape.groups, shape.groups)) in possible
        }
        if times:
            batch = "" if row.batch == 1 else f"batch {row.batch} of "
            return by_times(times, f"measured with {batch}{row.shape}")
    return here.rule(shape, direction)


def by_times(milliseconds: Mapping[str, float], measured_how: str) -> Choice:
    """The fastest lowering, its time and native's in words."""
    best = fastest(milliseconds)
    text = f"{best} {milliseconds[best]:.3f} ms"
    if best != "native" and "native" in milliseconds:
        text += f", native {milliseconds['native']:.3f} ms"
    return Choice(best, f"{text}, {measured_how}")


def fastest(milliseconds: Mapping[str, float]) -> Lowering:
    """The fastest lowering; native, unless another is faster by more than noise."""
    best = min(milliseconds, key=milliseconds.__getitem__)
    native = milliseconds.get("native", math.inf)
    return "native" if native <= milliseconds[best] * (1 + _MARGIN) else best


def candidates(shape: LayerShape, context: str, direction: str = "forward") -> list[Lowering]:
    """The lowerings that come into question."""
    return CONTEXTS[context].candidates(shape, direction)


def _alike(one: LayerShape, other: LayerShape) -> bool:
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
