"""tensorflow-model-optimization and tf-keras are there, and nobody notices."""

import gc
import importlib.util
import weakref

import pytest

from keras_roots.compression import legacy
from tests.processes import python

PROGRAM = """
import os, sys
os.environ.pop("TF_USE_LEGACY_KERAS", None)
if sys.argv[1] != "unset":
    os.environ["TF_USE_LEGACY_KERAS"] = sys.argv[1]
import keras
import tensorflow as tf
loaded = set(sys.modules)
import keras_roots
import keras_roots.compression
from keras_roots.compression import legacy
added = {name.partition(".")[0] for name in set(sys.modules) - loaded}
assert not {"tf_keras", "tensorflow_model_optimization"} & added
before = dict(os.environ)
found = legacy.libraries()
assert dict(os.environ) == before
assert legacy.libraries() is found
assert found.keras.__version__.startswith("2.")
wrapper = found.tfmot.quantization.keras.QuantizeWrapperV2
assert issubclass(wrapper, found.keras.layers.Layer)
assert not issubclass(wrapper, keras.layers.Layer)
print(tf.keras.layers.Layer.__module__)
"""


@pytest.mark.parametrize(
    ("variable", "package"),
    # A user who asks for the old Keras keeps it.
    [("unset", "keras"), pytest.param("0", "keras", marks=pytest.mark.slow), ("1", "tf_keras")],
)
def test_the_environment_and_tf_keras_stay_as_they_were(variable, package):
    assert python(PROGRAM, variable).partition(".")[0] == package


def test_another_backend_is_an_error_that_says_so():
    program = """
import sys
from keras_roots.compression import legacy
for function in (legacy.libraries, lambda: legacy.require("Pruning")):
    try:
        function()
    except ValueError as error:
        print(error)
assert not {"tf_keras", "tensorflow_model_optimization", "tensorflow"} & set(sys.modules)
"""
    advice = "needs Keras on TensorFlow. Received: the jax backend. Set KERAS_BACKEND=tensorflow."
    printed = python(program, KERAS_BACKEND="jax").splitlines()
    assert printed == [f"Compression {advice}", f"Pruning {advice}"]


@pytest.mark.parametrize(
    "missing",
    [
        ("tf_keras",),
        ("tensorflow_model_optimization",),
        ("tensorflow_model_optimization", "tf_keras", "distutils"),
    ],
)
def test_missing_packages_are_named_with_what_installs_them(monkeypatch, missing):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in missing else found(name)
    )
    wanted = rf"^Pruning needs {', '.join(missing)}\. .*pip install 'keras_roots\[compression\]'$"
    with pytest.raises(ModuleNotFoundError, match=wanted):
        legacy.require("Pruning")


def test_what_was_made_is_forgotten():
    layers = legacy.libraries().keras.layers
    with legacy.forgotten():
        inputs = legacy.libraries().keras.Input((4,))
        model = legacy.libraries().keras.Model(inputs, layers.Dense(2)(inputs))
        is_alive = weakref.ref(model)
        del inputs, model
    gc.collect()
    assert is_alive() is None


def test_it_is_forgotten_after_an_error_too():
    layers = legacy.libraries().keras.layers

    def fail():
        with legacy.forgotten():
            names.append(layers.Dense(2).name)
            raise RuntimeError("mine")

    names = []
    for _ in range(2):
        with pytest.raises(RuntimeError, match="mine"):
            fail()
    assert names == ["dense", "dense"]
