"""What a sweep does in processes of their own, so that each run finds a fresh one.

`python -m keras_roots.sweep.child check` reads the configurations of all
networks as JSON from the standard input, checks all that can be checked before
a training, and prints what the networks cost and the data's fingerprint.
`... train FOLDER` reads one configuration and trains. Both say what is wrong
in a line on the standard error, and exit as the programs of examples/ do.
"""

import json
import os
import sys
from collections.abc import Callable

EXIT_MISTAKE = 2


def check(configs: dict[str, str]) -> int:
    """Prints, as JSON, "data", "backend", and "networks" with what each costs.

    Args:
        configs: as JSON, by network.
    """
    import keras

    from keras_roots.cost import cost
    from keras_roots.data import input_pipeline, sources
    from keras_roots.training import network
    from keras_roots.training.config import from_json

    parsed = {name: from_json(text) for name, text in configs.items()}
    source = sources.open_source(next(iter(parsed.values())))
    sources.check_readable(source)
    counts = {}
    for name, config in parsed.items():
        input_pipeline.check(config, 1)
        try:
            model = network.for_training(config, len(source.class_names))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        found = cost(model, "paper")
        counts[name] = {"parameters": found.parameters, "macs": found.macs}
        keras.backend.clear_session()
    report = {
        "data": source.fingerprint(),
        "data_name": source.name,
        "backend": keras.backend.backend(),
        "networks": counts,
    }
    print(json.dumps(report))
    return 0


def train(text: str, folder: str) -> int:
    """Trains, or goes on, and returns the exit code; see `program.exit_code`."""
    from keras_roots.training import program, train_and_evaluate
    from keras_roots.training.config import from_json

    config = from_json(text)
    return program.exit_code(lambda: train_and_evaluate(config, folder, report=_print), "sweep")


def _print(line: str) -> None:
    print(line, flush=True)


def _mistakes_in_a_line(act: Callable[[], int]) -> int:
    try:
        return act()
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return EXIT_MISTAKE


def main(arguments: list[str]) -> int:
    """Runs one of the two, on the cores that SWEEP_CORES lists if it does."""
    cores = os.environ.get("SWEEP_CORES")
    if cores and hasattr(os, "sched_setaffinity"):  # Not on macOS and Windows.
        os.sched_setaffinity(0, map(int, cores.split(",")))
    asked = sys.stdin.read()
    if arguments == ["check"]:
        return _mistakes_in_a_line(lambda: check(json.loads(asked)))
    return train(asked, arguments[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
