import dataclasses
import json

import pytest

from keras_roots.training.config import Config, from_json, replaced


def test_a_configuration_survives_json():
    config = Config(model="nin", root="column-8", mean=(1, 2, 3), decay_epochs=[10, 20])
    assert config.mean == (1.0, 2.0, 3.0)
    assert from_json(json.dumps(config.as_dict())) == config
    assert Config(**json.loads(json.dumps(config.as_dict()))) == config


def test_every_field_says_what_it_is():
    for field in dataclasses.fields(Config):
        assert len(field.metadata["help"]) > 10, field.name


def test_linear_scaling_of_the_learning_rate():
    assert Config(batch_size=1024, learning_rate=0.1).peak_learning_rate == 0.1 * 1024 / 256


def test_differences_are_of_what_changes_the_result():
    config = Config(name="a", strategy="mirrored", batch_size=128, data_dir="x")
    assert config.differences(Config(name="b", batch_size=64)) == {"batch_size": (128, 64)}
    assert replaced(config, {"jit_compile": False}).differences(config) == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs of 1 or more. Received: epochs=0"),
        ({"epochs": 2.5}, "epochs as int. Received: 2.5"),
        ({"epochs": True}, "epochs as int"),
        ({"learning_rate": float("nan")}, "learning_rate as float"),
        ({"mean": (1, 2)}, "3 colours"),
        ({"std": (1, 2, 0)}, "std above 0"),
        ({"mean": 3.0}, "mean as a list"),
        ({"schedule": "linear"}, "cosine, step, inverse, constant.*'linear'"),
        ({"momentum": 1}, "momentum from 0 to less than 1"),
        ({"mixup": 1.5}, "mixup from 0 to 1"),
        ({"min_area": 0}, "min_area of more than 0"),
        ({"image_size": 300}, r"resize of image_size \(300\) or more"),
        ({"decay_epochs": (60, 30)}, "rising decay_epochs above 0"),
        ({"decay_epochs": (0, 30)}, "rising decay_epochs above 0"),
        ({"decay_epochs": (), "schedule": "step"}, "needs decay_epochs"),
        ({"epochs": 5}, r"warmup_epochs of less than epochs \(5\)"),
        ({"padding": 4, "augmentation": "full"}, "padding is for augmentation='paper'"),
        ({"jit_compile": True, "strategy": "mirrored"}, "jit_compile=True is for strategy='none'"),
        ({"devices": 2}, "for strategy='mirrored'"),
        ({"root": "ring-3"}, "expected 16, column-8"),
        ({"model_options": ("geometry",)}, "NAME=VALUE"),
        ({"seed": 2**31}, "below 2"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(ValueError, match=message):
        Config(**values)


def test_json_that_is_no_configuration():
    for text, message in {
        "{": "as JSON",
        "[]": "object of fields",
        '{"epoch": 3}': "no field epoch",
        '{"epochs": "3"}': "epochs as int",
    }.items():
        with pytest.raises(ValueError, match=message):
            from_json(text)


def test_options_of_the_factory():
    config = Config(model_options=("geometry=deep-roots", "auxiliary_heads=true"))
    assert config.factory_options() == {"geometry": "deep-roots", "auxiliary_heads": True}
