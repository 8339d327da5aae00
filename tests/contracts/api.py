"""The public names of the package, each with its signature, as lines of text.

Left out is what moving code changes: the module that defines a thing, and annotations, which name
modules. Lines that begin with "returned" are of classes that users are given and read the
attributes of; what they are called, and their constructors' defaults, nobody relies on.
`python -m tests.contracts.api` writes files/api.txt.
"""

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Iterator

import keras

import keras_roots
from tests.contracts import frozen

FILE = "api.txt"
# Sub-packages, with the names that README, docs and examples/ use where `__all__` is for rooms,
# or missing.
DOCUMENTED: dict[str, tuple[str, ...]] = {
    "analysis": (),
    "auxiliary_heads": ("loss_weights", "without_auxiliary_heads"),
    "compression": (),
    "data": ("load",),
    "export": (),
    "export.calibration": ("load_images",),
    "initializers": ("CompoundHeNormal",),
    "layers": (
        *("Conv2D", "FusedBatchNormalization", "GroupedConv2D"),
        *("batch_normalization", "convolution", "root_module"),
    ),
    "lowering": ("explain", "forced", "traced_for"),
    "optimizers": ("SGD",),
    "planning": (),
    "sweep": (),
    "sweep.program": ("main",),
    "topology": ("Topology", "as_topology", "column", "parse", "root", "tree"),
    "training": (),
    "training.program": ("run",),
}
_ATTRIBUTES = ("auxiliary_heads", "initializers", "optimizers")  # Of the package, not to import.


def lines() -> list[str]:
    """A line for each public name, method and property, sorted; then those of what they return."""
    public = {"keras_roots": keras_roots}
    for name in DOCUMENTED:
        path = f"keras_roots.{name}"
        imported = name not in _ATTRIBUTES
        public[path] = importlib.import_module(path) if imported else getattr(keras_roots, name)
    found, returned, known = set(), {}, set()
    for path, module in public.items():
        for name in DOCUMENTED.get(path.partition(".")[2]) or module.__all__:
            value = getattr(module, name)
            known.add(id(value))
            if inspect.ismodule(value):
                found.add(f"{path}.{name}: a module")
            else:
                found.update(_lines(f"{path}.{name}", value))
                returned.update(dict.fromkeys(_returned(value)))
    found |= _of_results([each for each in returned if id(each) not in known], known)
    return sorted(found)


def _of_results(classes: list[type], known: set[int]) -> set[str]:
    """Lines of classes that users get and need not import, whose place is nobody's concern."""
    found: set[str] = set()
    seen = set(known)
    while classes:
        value = classes.pop()
        if id(value) not in seen:
            seen.add(id(value))
            found.update(_lines(f"returned: {value.__name__}", value))
            classes += _returned(value)
    return found


def _lines(path: str, value) -> Iterator[str]:
    if not callable(value):
        yield f"{path} = {value!r}"
    elif not inspect.isclass(value):
        yield f"{path}{_signature(value)}"
    elif issubclass(value, Exception):
        arguments = _signature(value) if _ours(value, "__init__") else ""
        yield f"{path}{arguments}, a kind of {_builtin(value)}"
    else:
        yield f"{path}{_signature(value)}"
        # Of what Keras has made users know the arguments; how it does it is Keras's interface.
        if not issubclass(value, (keras.Layer, keras.Initializer, keras.Optimizer)):
            yield from _members(path, value)


def _members(path: str, value: type) -> Iterator[str]:
    fields = {field.name for field in dataclasses.fields(value)} if _is_record(value) else set()
    for name in dir(value):
        member = inspect.getattr_static(value, name)
        if name.startswith("_") or name in fields or not _ours(value, name):
            continue
        if isinstance(member, (classmethod, staticmethod)):
            yield f"{path}.{name}{_signature(getattr(value, name))}"
        elif inspect.isfunction(member):
            yield f"{path}.{name}{_signature(member, method=True)}"
        else:
            yield f"{path}.{name}: a property"


def _ours(value: type, name: str) -> bool:
    return _defining(value, name).__module__.partition(".")[0] == "keras_roots"


def _defining(value: type, name: str) -> type:
    return next(each for each in value.__mro__ if name in vars(each))


def _signature(value, *, method: bool = False) -> str:
    if inspect.isclass(value) and not _ours(value, "__init__"):
        return f": the arguments of Keras's {_defining(value, '__init__').__name__}"
    signature = inspect.signature(value)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty, default=_default(parameter.default))
        for parameter in signature.parameters.values()
    ]
    return str(inspect.Signature(parameters[method:]))


def _default(value):
    """A default whose text says the same wherever it is defined."""
    if value is inspect.Parameter.empty or isinstance(value, (str, int, float, tuple, type(None))):
        return value
    builtin = getattr(value, "__module__", None) == "builtins"
    text = value.__name__ if builtin else "function" if inspect.isfunction(value) else "new"
    return type("Default", (), {"__repr__": lambda _: f"<{text}>"})()


def _builtin(value: type) -> str:
    return next(each.__name__ for each in value.__mro__ if each.__module__ == "builtins")


def _is_record(value) -> typing.TypeGuard[type]:
    return inspect.isclass(value) and dataclasses.is_dataclass(value)


def _returned(value) -> list[type]:
    """The package's classes that a function returns, or that a class's fields and methods are."""
    if not inspect.isclass(value):
        hints = [_hints(value).get("return")]
    else:
        hints = list(_hints(value).values()) if _is_record(value) else []
        for name, member in inspect.getmembers_static(value):
            function = getattr(member, "fget", None) or getattr(member, "func", None) or member
            function = getattr(function, "__func__", function)
            if not name.startswith("_") and inspect.isfunction(function):
                hints.append(_hints(function).get("return"))
    found = []
    while hints:
        hint = hints.pop()
        hints += typing.get_args(hint)
        if inspect.isclass(hint) and hint.__module__.partition(".")[0] == "keras_roots":
            found.append(hint)
    return found


def _hints(value) -> dict:
    try:
        return typing.get_type_hints(value)
    except (NameError, TypeError):  # What is imported for type checkers only.
        return {}


if __name__ == "__main__":
    frozen.write(FILE, lines)
