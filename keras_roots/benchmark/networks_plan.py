"""What `benchmark networks` is to measure: every combination that exists, checked beforehand."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_roots.benchmark import artifacts, candidates, workers
from keras_roots.benchmark.candidates import Candidate
from keras_roots.benchmark.measured import require_one_of, require_positive
from keras_roots.benchmark.records import FILES, Session
from keras_roots.export import calibration as photographs
from keras_roots.timing import conditions, cores_allowed, gpu_name, hardware, sees_gpu
from keras_roots.topology import RootLike

DEVICES = ("cpu", "gpu")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be measured; made by `plan`, which checks all of it.

    Attributes:
        sessions: with the candidates of each, the reference first.
        rounds: turns of each candidate.
        per_turn: timed inferences in a turn.
        calibration: folder of images; None for random ones.
        options: of the networks' factories.
        image_size: None for the networks' own.
    """

    sessions: Mapping[Session, tuple[Candidate, ...]]
    rounds: int
    per_turn: int
    calibration: str | None
    options: Mapping[str, Any]
    image_size: int | None

    def names(self) -> list[tuple[str, str]]:
        """The networks and topologies."""
        return list(
            dict.fromkeys(
                (each.network, each.topology) for found in self.sessions.values() for each in found
            )
        )

    def conditions(self) -> dict[str, Any]:
        """What all figures hold for."""
        found = conditions(
            **hardware(),
            **self.options,
            image_size=self.image_size or "the network's",
            calibration=self.calibration or "random",
            rounds=self.rounds,
            per_turn=self.per_turn,
            warmup=workers.WARMUP,
        )
        return json.loads(json.dumps(found))  # As it will be read.


def plan(
    models: Sequence[str],
    roots: Iterable[RootLike] = (16,),
    *,
    options: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    runtimes: Sequence[str] = ("litert",),
    precisions: Sequence[str] | None = None,
    devices: Sequence[str] | None = None,
    threads: Sequence[int] = (1,),
    batches: Sequence[int] = (1,),
    rounds: int = 12,
    per_turn: int = 10,
    calibration: str | None = None,
    load: Callable[[str], keras.Model] = keras.models.load_model,
) -> Plan:
    """Every combination that exists.

    Args:
        models: registry names, and `.keras` and `.tflite` files; the first
            file is what others are relative to.
        roots: filter groups of the former; the dense network is always among
            them.
        options: other arguments of their factories.
        image_size: height and width, by default the networks' own.
        runtimes: of `artifacts.RUNTIMES`.
        precisions: of `export_tflite`, for LiteRT; others run in float32,
            which is the default.
        devices: "cpu", "gpu"; by default those that there are.
        threads: on the CPU.
        batches: images of an inference.
        rounds, per_turn: turns of each candidate, and timed inferences in one.
        calibration: folder of images that integers' ranges are taken from; by
            default they are random.
        load: reads a `.keras` file.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: an argument is not
            as above, or is of no combination.
    """
    require_positive(
        threads=threads, batches=batches, rounds=rounds, per_turn=per_turn, image_size=image_size
    )
    if max(threads) > cores_allowed():
        raise ValueError(
            f"Expected threads of 1 to {cores_allowed()}, the cores here. Received: {max(threads)}"
        )
    names, keras_files, tflite_files = _sorted_by_kind(models)
    for what, given in (("Precisions", precisions), ("Image sizes", image_size)):
        if given is not None and not names and not keras_files:
            raise ValueError(f"{what} are for networks and .keras files: TFLite files have theirs")
    for runtime in runtimes:
        artifacts.require_runtime(runtime, of_models=bool(names or keras_files))
    if tflite_files and "litert" not in runtimes:
        raise ValueError(
            f"TFLite files run in litert. Received: {tflite_files[0]!r} and runtimes of "
            f"{', '.join(runtimes)}"
        )
    wanted = tuple(precisions or ("float32",))
    for precision in wanted:
        if not any(precision in artifacts.precisions(runtime) for runtime in runtimes):
            raise ValueError(
                f"Expected a precision that {' or '.join(runtimes)} runs. Received: {precision!r}"
            )
    for runtime in runtimes if names or keras_files else ():
        if not set(wanted) & set(artifacts.precisions(runtime)):
            raise ValueError(f"{runtime} runs float32. Received: precisions {', '.join(wanted)}")
    if calibration is not None:
        photographs.require_images(calibration)
    places = _devices(runtimes, devices)
    if any("gpu" in each for each in places.values()):
        _leave_gpus_to_workers()
    ways = list(_ways(runtimes, places, wanted, threads, batches))
    sessions: dict[Session, tuple[Candidate, ...]] = {}
    for name in names:
        found = tuple(candidates.of_network(name, roots, options or {}, image_size))
        sessions.update({Session(name, *way): found for way in ways})
    files = [candidates.of_keras_file(path, load, image_size) for path in keras_files]
    if files:
        sessions.update({Session(FILES, *way): tuple(files) for way in ways})
    files = [candidates.of_tflite_file(path) for path in tflite_files]
    for file, batch in itertools.product(files, batches):
        if file.batch not in (None, batch):
            raise ValueError(
                f"'{file.path}' takes batches of {file.batch} only. Received: a batch of {batch}"
            )
    for number, batch in itertools.product(threads, batches) if files else ():
        way = ("litert", "cpu", artifacts.AS_IT_IS, number, batch)
        sessions[Session(FILES, *way)] = tuple(files)
    return Plan(sessions, rounds, per_turn, calibration, dict(options or {}), image_size)


def _sorted_by_kind(models: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Registry names, .keras files, TFLite files."""
    if not models:
        raise ValueError("Expected a network or a file. Received: none")
    kinds: dict[str, list[str]] = {".keras": [], ".tflite": []}
    names: list[str] = []
    for model in dict.fromkeys(models):
        kinds.get(Path(model).suffix, names).append(model)
    return names, kinds[".keras"], kinds[".tflite"]


def _devices(runtimes: Sequence[str], devices: Sequence[str] | None) -> dict[str, list[str]]:
    """Where each runtime is to run."""
    for device in devices or ():
        require_one_of("device", device, DEVICES)
    gpu = "gpu" in devices if devices is not None else gpu_name() is not None
    libraries = {library for runtime in runtimes if (library := artifacts.RUNTIMES[runtime])}
    seen = {library: gpu and sees_gpu(library) for library in libraries}
    if devices is not None and gpu and not any(seen.values()):
        raise ValueError(
            f"Expected a GPU that {' or '.join(runtimes)} runs on. Received: none is found"
        )
    found = {
        runtime: [
            device
            for device in (devices or DEVICES)
            if device == "cpu" or seen.get(artifacts.RUNTIMES[runtime] or "", False)
        ]
        for runtime in runtimes
    }
    for runtime, places in found.items():
        if not places:
            raise ValueError(f"{runtime} does not run on the GPU here. Received: devices=['gpu']")
    return found


def _leave_gpus_to_workers() -> None:
    """Networks are built in this process on the CPU: it would take all of the GPU's memory."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")
    elif keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_platforms", "cpu")


def _ways(runtimes, devices, precisions, threads, batches):
    """Runtime, device, precision, threads and batch of every session."""
    for runtime in runtimes:
        for device in devices[runtime]:
            for precision in precisions:
                if precision in artifacts.precisions(runtime):
                    counts = threads if device == "cpu" else (None,)
                    for number, batch in itertools.product(counts, batches):
                        yield runtime, device, precision, number, batch
