"""The tf.distribute strategy that a configuration asks for."""

import functools
import json
import os

from keras_roots.training.config import Config

TF_CONFIG_HELP = """\
Every machine runs the same command with --strategy=multi_worker and a TF_CONFIG
of its own: the same addresses everywhere, and its own number (0 is the chief,
which writes the results). The work directory is one that all of them see.

  export TF_CONFIG='{"cluster": {"worker": ["host-0:12345", "host-1:12345"]},
                     "task": {"type": "worker", "index": 0}}'
"""


def make(config: Config):
    """A strategy; before TensorFlow has done anything else in this process.

    Raises:
        ValueError: there are no such devices, or TF_CONFIG is not right.
    """
    import tensorflow as tf

    if config.strategy == "mirrored":
        devices = _devices(config)
        if config.logical_cpus:
            _cut_cpu(len(devices))
        return _mirrored(tuple(devices))
    if config.strategy == "multi_worker":
        check_tf_config()
        return _multi_worker()
    return tf.distribute.get_strategy()


@functools.cache  # A second of the same devices would mistake the first's messages for its own.
def _mirrored(devices: tuple[str, ...]):
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(list(devices))


@functools.cache
def _multi_worker():
    import tensorflow as tf

    return tf.distribute.MultiWorkerMirroredStrategy()


def replicas(config: Config) -> int:
    """How many replicas there will be, without a strategy.

    Raises:
        ValueError: as `make`.
    """
    import tensorflow as tf

    if config.strategy == "mirrored":
        return len(_devices(config))
    if config.strategy == "multi_worker":
        workers = len(check_tf_config()["cluster"]["worker"])
        return workers * max(1, len(tf.config.list_physical_devices("GPU")))
    return 1


def describe(strategy) -> str:
    """The devices in words."""
    import tensorflow as tf

    number = strategy.num_replicas_in_sync
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    words = f"{number} replica{'s' if number > 1 else ''} on {kind}"
    if number > 1 and kind == "CPU":
        words += " (logical devices of a processor: to try things, not for speed)"
    return words


def is_chief(strategy) -> bool:
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.task_type or resolver.task_id == 0


def workers(strategy) -> int:
    """How many processes there are."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return 1
    return len(resolver.cluster_spec().as_dict().get(resolver.task_type, [None]))


def _devices(config: Config) -> list[str]:
    """Those of strategy "mirrored"; nothing is done to them.

    Raises:
        ValueError: there are none such.
    """
    import tensorflow as tf

    present = len(tf.config.list_physical_devices("GPU"))
    if present:
        if config.logical_cpus:
            raise ValueError("logical_cpus is for machines without a GPU; this one has one.")
        if config.devices > present:
            raise ValueError(
                f"Expected devices of {present} or fewer, the GPUs. Received: {config.devices}"
            )
        return [f"GPU:{n}" for n in range(config.devices or present)]
    if not config.logical_cpus:
        raise ValueError(
            "strategy='mirrored' found no GPU. To try it on the processor, give logical_cpus=True "
            "and a number of devices, devices=2."
        )
    return [f"CPU:{n}" for n in range(config.devices or 2)]


def _cut_cpu(number: int) -> None:
    """Makes logical devices of the processor."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * number
        )
    except RuntimeError as error:  # TensorFlow is running already.
        if len(tf.config.list_logical_devices("CPU")) < number:
            raise ValueError(
                f"The processor cannot be cut in {number} logical devices once TensorFlow has "
                "begun to compute: do so in a new process."
            ) from error


def check_tf_config() -> dict:
    """TF_CONFIG, if it is as it should be.

    Raises:
        ValueError: it is not.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        found = json.loads(text)
        workers = found["cluster"]["worker"]
        index = found["task"]["index"]
        right = (
            found["task"]["type"] == "worker"
            and isinstance(workers, list)
            and all(isinstance(each, str) and ":" in each for each in workers)
            and set(found["cluster"]) == {"worker"}
            and 0 <= int(index) < len(workers)
        )
    except (ValueError, TypeError, KeyError):
        right = False
    if not right:
        raise ValueError(
            "strategy='multi_worker' needs TF_CONFIG, with addresses of workers and the number of "
            f"this one. Received: {text or 'nothing'!r}. {TF_CONFIG_HELP}"
        )
    return found
