"""Command-line flags for every field of a configuration."""

import dataclasses
import typing
from collections.abc import Callable

from absl import flags

from keras_roots.training.config import TYPES, Config, replaced


def define(**program: str) -> None:
    """Defines a flag for each field; those that are not given leave it as it is.

    Args:
        **program: `module_name`, under which --help lists them.
    """
    for field in dataclasses.fields(Config):
        name, text, choices = field.name, field.metadata["help"], field.metadata["choices"]
        expected = TYPES[name]
        if choices:
            flags.DEFINE_enum(name, None, choices, text, **program)
        elif expected is bool:
            flags.DEFINE_bool(name, None, text, **program)
        elif expected is int:
            flags.DEFINE_integer(name, None, text, **program)
        elif expected is float:
            flags.DEFINE_float(name, None, text, **program)
        elif expected is str:
            flags.DEFINE_string(name, None, text, **program)
        else:
            flags.DEFINE_list(name, None, f"{text}; separated by commas", **program)


def overlaid(config: Config) -> Config:
    """The configuration with what was given on the command line.

    Raises:
        ValueError: a value is wrong.
    """
    values = {
        field.name: _parsed(field.name, flags.FLAGS[field.name].value)
        for field in dataclasses.fields(Config)
        if flags.FLAGS[field.name].value is not None
    }
    return replaced(config, values)


def _parsed(name: str, value):
    if not isinstance(value, list):
        return value
    element: Callable = typing.get_args(TYPES[name])[0]
    try:
        return [element(each) for each in value]
    except ValueError:
        raise ValueError(
            f"Expected --{name} as numbers separated by commas. Received: {','.join(value)!r}"
        ) from None
