"""A program that times inferences of one artifact, as it is told: worker.py SPECIFICATION

`workers` runs it as a script, a process for each candidate, which imports its own runtime and
nothing else: LiteRT is timed without TensorFlow beside it, and memory is that of one artifact.

The specification is JSON; so is each line that it prints: once it is ready, load_s and compile_s;
for each line "run N" that it reads, after one untimed inference, the seconds of N; for "end",
memory. At the end of its input it quits.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Python puts a script's folder first, whose modules are not meant for everybody to import.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]


def main() -> None:
    specification = json.loads(sys.argv[1])
    # What the runtimes print must not come between the lines that are read.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**message: Any) -> None:
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    if specification["cores"] is not None and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[: specification["cores"]]
        os.sched_setaffinity(0, cores)
    runtime = _RUNTIMES[specification["runtime"]](specification)

    import numpy as np

    images = np.load(specification["images"], allow_pickle=False)
    batch = np.resize(images, (specification["batch"], *images.shape[1:]))
    _forget_peak()
    before = _memory("VmRSS")
    start = time.perf_counter()
    infer, output = runtime.load(batch)
    loaded = time.perf_counter()
    infer()
    compiled = time.perf_counter()
    for _ in range(specification["warmup"]):
        infer()
    np.save(specification["outputs"], output())
    say(load_s=loaded - start, compile_s=compiled - loaded)
    for line in sys.stdin:
        word, *number = line.split()
        if word == "end":
            say(memory_bytes=runtime.memory(max(0, _memory("VmHWM") - before)))
            return
        say(seconds=_timed(infer, int(number[0])))


def _timed(infer: Callable[[], object], count: int) -> list[float]:
    infer()  # Brings it back into the caches.
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        infer()
        seconds.append(time.perf_counter() - start)
    return seconds


class _LiteRT:
    def __init__(self, specification: dict):
        from ai_edge_litert.interpreter import Interpreter

        self.make, self.specification = Interpreter, specification

    def load(self, batch):
        import numpy as np

        interpreter = self.make(
            model_path=self.specification["artifact"], num_threads=self.specification["threads"]
        )
        place = interpreter.get_input_details()[0]["index"]
        if interpreter.get_input_details()[0]["shape"][0] != len(batch):
            interpreter.resize_tensor_input(place, batch.shape)
        interpreter.allocate_tensors()
        details = interpreter.get_input_details()[0]
        if np.dtype(details["dtype"]).kind in "iu":
            limits = np.iinfo(details["dtype"])
            scale, zero_point = details["quantization"]
            batch = np.clip(np.rint(batch / (scale or 1)) + zero_point, limits.min, limits.max)
        interpreter.set_tensor(place, batch.astype(details["dtype"]))
        output = interpreter.get_output_details()[0]["index"]
        return interpreter.invoke, lambda: interpreter.get_tensor(output)

    def memory(self, resident: int) -> int:
        return resident


class _TensorFlow:
    def __init__(self, specification: dict):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        self.tf, self.specification = tf, specification
        if specification["device"] == "cpu":
            tf.config.threading.set_intra_op_parallelism_threads(specification["threads"])
            tf.config.threading.set_inter_op_parallelism_threads(1)
        elif not tf.config.list_physical_devices("GPU"):
            raise SystemExit("TensorFlow sees no GPU")

    def load(self, batch):
        serve = self.tf.saved_model.load(self.specification["artifact"])
        serve = serve.signatures["serving_default"]
        images = self.tf.constant(batch)

        def infer():
            return next(iter(serve(images=images).values())).numpy()

        return infer, infer

    def memory(self, resident: int) -> int:
        if self.specification["device"] == "cpu":
            return resident
        return self.tf.config.experimental.get_memory_info("GPU:0")["peak"]


class _Jax:
    def __init__(self, specification: dict):
        os.environ["KERAS_BACKEND"] = "jax"
        # Where the package is not installed, it is beside.
        sys.path.append(str(Path(__file__).resolve().parents[2]))
        import jax
        import keras

        from keras_roots import layers  # noqa: F401 They are registered.

        self.jax, self.keras, self.specification = jax, keras, specification
        if specification["device"] == "gpu" and jax.devices()[0].platform != "gpu":
            raise SystemExit("JAX sees no GPU")

    def load(self, batch):
        path = self.specification["artifact"]
        model = self.keras.models.load_model(path, compile=False, safe_mode=True)
        trainable = [variable.value for variable in model.trainable_variables]
        others = [variable.value for variable in model.non_trainable_variables]
        images = self.jax.device_put(batch)

        @self.jax.jit
        def forward(trainable, others, images):
            return model.stateless_call(trainable, others, images, training=False)[0]

        def infer():
            return self.jax.block_until_ready(forward(trainable, others, images))

        return infer, infer

    def memory(self, resident: int) -> int | None:
        if self.specification["device"] == "cpu":
            return resident
        return (self.jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


_RUNTIMES: dict[str, Callable[[dict], Any]] = {
    "litert": _LiteRT,
    "tensorflow": _TensorFlow,
    "xla": _TensorFlow,
    "jax": _Jax,
}


def _memory(name: str) -> int:
    """Bytes of this process; of the kernel's names, VmRSS is now and VmHWM the most."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    import resource

    # On Linux this would be the most that the process before this one had, too.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024)


def _forget_peak() -> None:
    """Importing may have taken more than is left of it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # Not Linux, or not allowed: then it may count as the model's.
        return


if __name__ == "__main__":
    main()
