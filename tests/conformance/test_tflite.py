"""Every form of network as a TFLite file in every precision that XNNPACK runs."""

import numpy as np
import pytest

from keras_roots.export import export_tflite
from keras_roots.export.flatbuffer import operators
from tests.conformance import networks
from tests.reference import run_tflite

# What the signal-to-noise ratio is at least, in dB; of a wrong file it is 0 or less. A weight that
# is rounded once has 2^24, 2^11 or 2^8 steps: 144, 66 or 48 dB; some layers of random weights, each
# of which amplifies what the one before it lost, take at most 40 of them.
RATIOS = {"float32": 90, "float16": 35, "dynamic": 12, "int8": 12}


@pytest.mark.parametrize("precision", RATIOS)
@pytest.mark.parametrize("name", networks.NAMES)
def test_one_delegate_runs_each_grouped_convolution_as_one_operator(tmp_path, name, precision):
    model, images = networks.built(name), networks.images(name)
    artifact = export_tflite(
        model,
        tmp_path / "model.tflite",
        images[:2],
        precision=precision,
        calibration=images,
        lowering="native",
    )
    assert (artifact.delegates, artifact.outside) == (1, {})
    content = artifact.path.read_bytes()
    found = list(operators(content))
    assert not [each.kind for each in found if each.kind.startswith("CUSTOM")]
    # A depthwise convolution is of another kind, whose groups are the channels.
    groups = [each.groups for each in found if (each.groups or 1) > 1 and each.kind == "CONV_2D"]
    assert groups == networks.groups(name) != []

    expected = networks.scores(name)[:8]
    noise = run_tflite(content, images[:8]) - expected
    ratio = 20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(noise))
    assert ratio > RATIOS[precision]
