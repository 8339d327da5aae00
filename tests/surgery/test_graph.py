import keras
import pytest

import keras_roots
from keras_roots import cost, plan
from keras_roots.surgery import graph
from tests.sample_models import Scale, elaborate_model, groups_of, quietly, small_model


def conv(filters, **kwargs):
    return keras.layers.Conv2D(filters, 3, padding="same", **kwargs)


def groups_by_plan(model, root):
    return {layer.name: layer.groups for layer in plan(model, root).grouped}


def test_graphs_list_calls_in_an_order_in_which_they_can_be_made():
    traced = graph.trace(elaborate_model())
    known = set(traced.inputs)
    for call in traced.calls:
        assert set(call.inputs) <= known
        known |= set(call.outputs)
    assert set(traced.outputs) <= known
    # Both towers call the shared block twice.
    assert [call.path for call in traced.calls].count("tower/block/a") == 4


def test_a_decoder_has_the_degrees_of_its_encoder():
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", name="in")(inputs)
    skips = []
    for n in range(2):
        x = keras.layers.Conv2D(8, 3, padding="same", name=f"down{n}")(x)
        skips.append(x)
        x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Conv2D(8, 3, padding="same", name="bottom")(x)
    for n in (1, 0):
        x = (
            keras.layers.UpSampling2D(2)(x)
            if n
            else keras.layers.Conv2DTranspose(8, 2, strides=2, name="transposed")(x)
        )
        x = keras.layers.Concatenate()([x, skips[n]])
        x = keras.layers.Conv2D(8, 3, padding="same", name=f"up{n}")(x)
    model = keras.Model(inputs, x)
    planned = plan(model, 8)
    assert {layer.name: layer.groups for layer in planned.grouped} == {
        "down0": 8,
        "down1": 4,
        "bottom": 2,
        "up1": 4,
        "up0": 8,
    }
    assert {layer.name: layer.reason for layer in planned.skipped}["transposed"] == "transposed"


def test_squeeze_and_excitation_and_unknown_layers_keep_the_level():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(inputs)
    squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = x * keras.layers.Conv2D(8, 1, activation="sigmoid")(squeezed)
    x = keras.ops.pad(Scale(2.0)(x), [[0, 0], [1, 1], [1, 1], [0, 0]])
    x = keras.layers.Conv2D(8, 3, name="same_level")(x)
    # Space to depth by reshaping is a sub-sampling like another.
    x = keras.ops.reshape(x, (-1, 4, 4, 32))
    x = keras.layers.Conv2D(8, 3, padding="same", name="next_level")(x)
    planned = plan(keras.Model(inputs, x), 8)
    assert {layer.name: (layer.groups, layer.output_stride) for layer in planned.grouped} == {
        "same_level": (8, "2"),
        "next_level": (4, "4"),
    }


def test_maps_that_are_made_of_a_vector():
    inputs = keras.Input((10,))
    x = keras.layers.Reshape((4, 4, 8))(keras.layers.Dense(4 * 4 * 8)(inputs))
    x = keras.layers.Conv2D(8, 3, padding="same", name="coarse")(x)
    x = keras.layers.UpSampling2D(2)(x)
    x = keras.layers.Conv2D(8, 3, padding="same", name="fine")(x)
    model = keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same", name="image")(x))
    planned = plan(model, 8)
    assert {layer.name: layer.groups for layer in planned.grouped} == {"coarse": 4, "fine": 8}
    (skipped,) = planned.skipped
    assert skipped.reason == "of 8 channels and 3 filters, which have no common divisor"


def test_channels_first():
    keras.config.set_image_data_format("channels_first")
    try:
        model = small_model((8, 8, 8, 8), image=(3, 16, 16))
        rooted = quietly(model, 4)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert groups_of(rooted) == {"conv0": 1, "conv1": 4, "conv2": 4, "conv3": 2}


def test_layers_that_are_grouped_already_have_levels_too():
    # What root-8 left dense in VGG-11 is of the levels that root-8 gives degree 1.
    model = keras_roots.RootVGG11(root=8, include_top=False, input_shape=(32, 32, 3))
    with pytest.raises(ValueError, match="grouped already; . at a level of degree 1"):
        plan(model, 8)
    degrees = {layer.output_stride: layer.groups for layer in plan(model, 64).grouped}
    dense = keras_roots.RootVGG11(root=1, include_top=False, input_shape=(32, 32, 3))
    expected = {layer.output_stride: layer.groups for layer in plan(dense, 64).grouped}
    assert degrees
    assert degrees.items() <= expected.items()


def test_depthwise_convolutions_by_groups_have_no_level():
    inputs = keras.Input((32, 32, 3))
    x = conv(8, groups=8, name="depthwise")(conv(8)(inputs))
    x = conv(8, name="level0")(keras.layers.MaxPooling2D(2)(x))
    model = keras.Model(inputs, x)
    assert groups_by_plan(model, 4) == {"level0": 4}
    assert {layer.name: layer.reason for layer in plan(model, 4).skipped}[
        "depthwise"
    ] == "depthwise"


def test_a_side_branch_is_no_level():
    inputs = keras.Input((48, 48, 3))
    x = conv(16, name="level0")(conv(16)(inputs))
    x = keras.layers.MaxPooling2D(2)(x)
    x = conv(16, name="level1")(x)
    # Attention, from pixels of 6x6; and a head on maps of 10x10.
    attention = keras.layers.UpSampling2D(3)(keras.layers.AveragePooling2D(3)(x))
    head = keras.layers.GlobalAveragePooling2D()(keras.layers.AveragePooling2D(5)(x))
    x = keras.layers.MaxPooling2D(8)(x * attention)
    x = conv(16, name="level2")(x)
    assert groups_by_plan(keras.Model(inputs, [x, head]), 8) == {
        "level0": 8,
        "level1": 4,
        "level2": 2,
    }


def test_two_sub_samplings_in_a_row_are_two():
    inputs = keras.Input((32, 32, 3))
    x = conv(16, name="level0")(conv(16)(inputs))
    x = keras.layers.MaxPooling2D(2)(keras.layers.MaxPooling2D(2)(x))
    model = keras.Model(inputs, conv(16, name="level2")(x))
    assert groups_by_plan(model, 8) == {"level0": 8, "level2": 2}


class Halve(keras.layers.Layer):
    """Sub-samples, and Keras's sizes are all that tells so."""

    def call(self, x):
        return x[:, ::2, ::2]


@pytest.mark.parametrize("size", [32, None])
@pytest.mark.parametrize("sub_sample", [lambda x: keras.ops.max_pool(x, 2), Halve()])
def test_unknown_sub_samplings_of_images_of_any_size(size, sub_sample):
    inputs = keras.Input((size, size, 3))
    x = conv(8, name="level0")(conv(8)(inputs))
    x = sub_sample(keras.layers.BatchNormalization()(x))
    x = conv(8, name="level1")(keras.activations.silu(x) + Scale(2.0)(x))
    assert groups_by_plan(keras.Model(inputs, x), 8) == {"level0": 8, "level1": 4}


def test_images_of_several_sizes():
    large, small = keras.Input((32, 32, 3)), keras.Input((16, 16, 3))
    x = conv(8, name="level0")(conv(8)(large))
    y = conv(8, name="level1")(conv(8)(small))
    x = keras.layers.Concatenate()([keras.layers.MaxPooling2D(2)(x), y])
    x = conv(8, name="both")(x)
    assert groups_by_plan(keras.Model([large, small], x), 8) == {
        "level0": 8,
        "level1": 4,
        "both": 4,
    }


@pytest.mark.filterwarnings("ignore:.*passed an input with a mask attached:UserWarning")
def test_nested_models_that_are_called_with_more_than_their_inputs():
    inner = keras.Input((16, 16, 3))
    nested = keras.Model(inner, conv(8)(conv(8)(inner)), name="nested")
    image, seen = keras.Input((16, 16, 3)), keras.Input((16, 16), dtype="bool")
    model = keras.Model([image, seen], nested(image, mask=seen))
    assert len(plan(model, 4).grouped) == 1
    assert cost(quietly(model, 4)).macs < cost(model).macs == cost(nested).macs


def test_nested_models_that_are_called_with_names():
    first, second = (keras.Input((16, 16, 4), name=name) for name in ("zebra", "ape"))
    nested = keras.Model([first, second], [conv(8, name="inner")(first), second])
    images = [keras.Input((16, 16, 4)) for _ in range(2)]
    learned = keras.layers.Conv2D(4, 1, name="learned")(images[0])
    maps, _ = nested({"ape": images[1], "zebra": learned})
    (planned,) = plan(keras.Model(images, maps), 4).grouped  # Were they exchanged, none would be.
    assert planned.groups == 4
