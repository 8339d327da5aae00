"""`keras-roots benchmark fine-tuning`."""

import pytest

from keras_roots.cli import main
from tests.colour_models import one_line, tables

_WAYS = ["training, Keras 3", "fine-tuning, tf-keras", "pruning", "clustering", "quantisation"]


@pytest.mark.slow
def test_each_way_is_timed_and_set_beside_training(capsys):
    command = ["benchmark", "fine-tuning", "nin", "--root", "8", "--batch-size", "2"]
    assert main([*command, "--rounds", "2"]) == 0
    (header, _, *rows), _ = tables(capsys.readouterr().out)
    assert header == ["update", "ms", "10th to 90th percentile", "/ plain"]
    assert [row[0] for row in rows] == [*_WAYS, "quantisation, tf-keras as it stands"]
    assert rows[0][3] == "1.00"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rounds", "0"], "rounds of 1 or more"),
        (["--batch-size", "0"], "of 1 or more"),
        (["--image-size", "-1"], "-1"),
    ],
)
def test_mistakes(capsys, more, message):
    assert main(["benchmark", "fine-tuning", "nin", *more]) == 2
    assert message in one_line(capsys)
