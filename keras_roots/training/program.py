"""What the training programs of examples/ have in common: flags, errors, exit codes."""

import contextlib
import importlib.util
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import app, flags, logging

from keras_roots.requirements import tensorflow_errors
from keras_roots.training import strategies
from keras_roots.training.config import Config, from_file
from keras_roots.training.flags import define, overlaid

EXIT_CODES = """\
Exit codes: 0 done, 1 the training diverged or its last state could not be written,
2 a mistake in the flags or in what they name, 75 interrupted by SIGTERM with the
state written (the same command goes on), 130 the same by Ctrl-C."""
_HELP = ("help", "helpfull", "helpshort", "helpxml", "?")
_PREEMPTED = 75  # As sysexits.h has it: a temporary failure, try again.
_INTERRUPTED = 130


def run(default: str, configs: Path, documentation: str) -> None:
    """Parses the command line, trains, and exits.

    Args:
        default: name of the configuration without --config.
        configs: folder of configurations, each a Python file with a `CONFIG`.
        documentation: of the program.
    """

    def act(config: Config, workdir: str, *, dry_run: bool) -> None:
        from keras_roots.training import dry_run as checks
        from keras_roots.training.loop import train_and_evaluate

        if dry_run:
            checks.run(config, workdir)
        else:
            train_and_evaluate(config, workdir, report=_print)

    command_line(default, configs, documentation, act)


def command_line(
    default: str, configs: Path, documentation: str, act: Callable[..., object]
) -> None:
    """Parses the flags of a configuration and those that were defined before, acts, and exits.

    Args:
        default: name of the configuration without --config.
        configs: folder of configurations, each a Python file with a `CONFIG`.
        documentation: of the program.
        act: takes the configuration and the work directory, and `dry_run`.
    """
    names = sorted(path.stem for path in configs.glob("*.py"))
    of_program = {"module_name": sys.argv[0]}  # So --help lists them.
    chosen = flags.DEFINE_string(
        "config",
        default,
        f"the configuration: {', '.join(names)}, or a .json file such as a work directory's; the "
        "other flags change it field by field",
        **of_program,
    )
    work_directory = flags.DEFINE_string(
        "workdir", None, "where the results go, and where an interrupted run goes on", **of_program
    )
    dry_run = flags.DEFINE_bool(
        "dry_run",
        False,
        "check everything, print the plan and its cost, and train nothing",
        **of_program,
    )
    define(**of_program)

    def main(argv: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # TensorFlow says how it saves checkpoints.
        if len(argv) > 1:
            sys.exit(_mistake(f"unexpected arguments: {' '.join(argv[1:])} (flags begin with --)"))
        if not work_directory.value:
            sys.exit(_mistake("give --workdir, the folder for the results"))

        def asked() -> None:
            config = overlaid(load(chosen.value, configs, names))
            act(config, work_directory.value, dry_run=dry_run.value)

        sys.exit(exit_code(asked, Path(sys.argv[0]).name))

    sys.modules[
        "__main__"
    ].__doc__ = f"{documentation}\n{strategies.TF_CONFIG_HELP}\n{EXIT_CODES}\n"
    app.run(main, flags_parser=_parsed)


def _parsed(argv: list[str]) -> list[str]:
    """absl's, but that mistakes are one line and exit code 2, and help is no mistake."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(_mistake(f"{error} (see --help)"))
    except SystemExit:
        if any(argument.lstrip("-") in _HELP for argument in argv[1:]):
            sys.exit(0)
        raise


def exit_code(act: Callable[[], object], name: str) -> int:
    """Does something; what it raises is a line on the standard error and one of `EXIT_CODES`.

    Args:
        act: what to do, such as a training.
        name: stands before a mistake.
    """
    from keras_roots.training.loop import Interrupted

    try:
        act()
    except Interrupted as interrupted:
        if sys.stdout.isatty():
            print()  # Below the progress bar.
        print(interrupted, file=sys.stderr)
        return _PREEMPTED if interrupted.signal == signal.SIGTERM else _INTERRUPTED
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return _mistake(str(error), name)
    except RuntimeError as error:
        print(_of_runtime(error), file=sys.stderr)
        return 1
    except tensorflow_errors() as error:
        print(_of_tensorflow(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the last checkpoint is whole", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _of_runtime(error: RuntimeError) -> str:
    text = str(error)
    if text.startswith("RESOURCE_EXHAUSTED"):  # XLA's, which goes on for pages.
        return f"{text.splitlines()[0]} If that is memory, take a smaller batch_size."
    return " ".join(text.split())


def _of_tensorflow(error) -> str:
    import tensorflow as tf

    lines = str(error.message).splitlines()
    reason = f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return f"{reason} If that is memory, take a smaller batch_size, or more accumulation."
    if isinstance(error, (tf.errors.UnavailableError, tf.errors.AbortedError)):
        return (
            f"{reason} Another worker may be gone: see what it said. The same command on all of "
            "them goes on from the last checkpoint."
        )
    return f"{reason} The same command goes on from the last checkpoint."


def load(chosen: str, configs: Path, names: list[str]) -> Config:
    """A configuration by name, or from a JSON file.

    Raises:
        ValueError, FileNotFoundError: there is none.
    """
    if chosen.endswith(".json"):
        return from_file(chosen)
    if not re.fullmatch(r"\w+", chosen) or chosen not in names:
        raise ValueError(
            f"There is no configuration {chosen!r}. Expected one of: {', '.join(names)}, or a "
            ".json file"
        )
    specification = importlib.util.spec_from_file_location(chosen, configs / f"{chosen}.py")
    if specification is None or specification.loader is None:
        raise ValueError(f"'{configs / chosen}.py' cannot be imported")
    module = importlib.util.module_from_spec(specification)
    with _importable(configs):  # One builds on another.
        specification.loader.exec_module(module)
    return module.CONFIG


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _print(line: str) -> None:
    print(line, flush=True)


def _mistake(message: str, name: str | None = None) -> int:
    print(f"{name or Path(sys.argv[0]).name}: {' '.join(message.split())}", file=sys.stderr)
    return 2
