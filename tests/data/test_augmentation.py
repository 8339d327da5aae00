import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_roots.data import augmentation
from keras_roots.training.config import Config

GRAY = np.array([0.299, 0.587, 0.114])
ORDERS = list(itertools.permutations(range(3)))


def recoloured(image, jitter, order, lighting):
    """fb.resnet.torch's ColorJitter and Lighting, one after the other, on 0 to 255."""
    image = image.astype(float)
    for kind in ORDERS[order]:
        gray = image @ GRAY
        other = (0.0, gray.mean(), gray[..., np.newaxis])[(0, 1, 2).index(kind)]
        image = jitter[kind] * image + (1 - jitter[kind]) * other
    values = np.array([0.2175, 0.0188, 0.0045])
    vectors = np.array(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )
    return image + 255 * vectors @ (values * lighting)


@given(st.integers(0, 2**32 - 1))
def test_colours_are_those_of_one_step_after_the_other(seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (6, 4, 5, 3), np.uint8)
    jitter = rng.uniform(0.6, 1.4, (6, 3)).astype(np.float32)
    order = np.arange(6, dtype=np.int32)
    lighting = rng.normal(0, 0.1, (6, 3)).astype(np.float32)
    numbers = {"jitter": jitter, "order": order, "lighting": lighting}
    numbers = {name: tf.constant(value) for name, value in numbers.items()}
    ours = augmentation.augmented(tf.constant(images), numbers)
    for n in range(6):
        expected = recoloured(images[n], jitter[n], n, lighting[n])
        np.testing.assert_allclose(ours[n], expected, atol=2e-3)


def test_mirroring():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    ours = augmentation.augmented(tf.constant(images), {"mirror": tf.constant([True, False])})
    np.testing.assert_array_equal(ours[0], images[0, :, ::-1])
    np.testing.assert_array_equal(ours[1], images[1])


def test_what_is_drawn_has_the_distributions_asked_for():
    config = Config(augmentation="full", color_jitter=0.4, lighting=0.1)
    uniforms = np.random.default_rng(0).random((4000, augmentation.UNIFORMS), np.float32)
    drawn = augmentation.drawn(tf.constant(uniforms), config)
    assert 0.45 < np.mean(drawn["mirror"]) < 0.55
    jitter, lighting = drawn["jitter"].numpy(), drawn["lighting"].numpy()
    assert 0.6 <= jitter.min() < 0.605
    assert 1.395 < jitter.max() <= 1.4
    np.testing.assert_allclose(jitter.mean(axis=0), 1, atol=0.02)
    np.testing.assert_allclose(np.bincount(drawn["order"]) / 4000, 1 / 6, atol=0.03)
    np.testing.assert_allclose(lighting.std(axis=0), 0.1, atol=0.005)
    np.testing.assert_allclose(lighting.mean(axis=0), 0, atol=0.006)
    assert np.isfinite(lighting).all()
    correlations = np.corrcoef(np.hstack([jitter, lighting]).T) - np.eye(6)
    assert np.abs(correlations).max() < 0.06


def test_only_what_is_asked_for_is_drawn():
    uniforms = tf.zeros([2, augmentation.UNIFORMS])
    assert augmentation.drawn(uniforms, Config(augmentation="none")) == {}
    assert set(augmentation.drawn(uniforms, Config(augmentation="paper"))) == {"mirror"}
    none = Config(augmentation="full", mirror=False, color_jitter=0, lighting=0)
    assert augmentation.drawn(uniforms, none) == {}


SIZE, GROUP = 6, augmentation.MIXING_GROUP


def group(seed: int, **values):
    layers = augmentation.mixing_layers(Config(**values))
    mixing = augmentation.mixing_of_group(layers, SIZE, tf.constant([seed, 7], tf.int64))
    mixing["weights"] = tf.ones([GROUP])
    return {name: value.numpy() for name, value in mixing.items()}


def test_mixup_mixes_images_as_it_mixes_labels():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2 * GROUP, SIZE, SIZE, 3)).astype(np.float32)
    targets = np.eye(2 * GROUP, dtype=np.float32)
    groups = [group(seed, mixup=0.4) for seed in range(2)]
    batch = {name: np.concatenate([g[name] for g in groups]) for name in groups[0]}
    ours, labels = augmentation.mixed(
        tf.constant(images), tf.constant(targets), {k: tf.constant(v) for k, v in batch.items()}
    )
    labels = labels.numpy()
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    # Each with one other, of its own group; and the label says how much of whom.
    assert not labels[:GROUP, GROUP:].any()
    assert not labels[GROUP:, :GROUP].any()
    assert ((labels > 0).sum(axis=1) <= 2).all()
    assert ((labels > 0).sum(axis=1) == 2).any()
    expected = np.einsum("ij,jhwc->ihwc", labels, images)
    np.testing.assert_allclose(ours, expected, atol=255 / 255 + 1e-3)  # own is in 255ths.


def test_cutmix_pastes_a_rectangle_and_labels_by_its_area():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (GROUP, SIZE, SIZE, 3)).astype(np.float32)
    pasted = 0
    for seed in range(5):
        mixing = group(seed, cutmix=1.0)
        ours, labels = augmentation.mixed(
            tf.constant(images), tf.eye(GROUP), {k: tf.constant(v) for k, v in mixing.items()}
        )
        for n, partner in enumerate(mixing["partner"]):
            is_own = (ours[n].numpy() == images[n]).all(axis=-1)
            is_partners = (ours[n].numpy() == images[partner]).all(axis=-1)
            assert (is_own | is_partners).all()
            if partner != n:
                assert float(labels[n, n]) == pytest.approx(is_own.mean())
                rows, columns = np.nonzero(~is_own)
                pasted += len(rows)
                if len(rows):
                    area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
                    assert area == len(rows)
    assert pasted


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_nothing_is_mixed_with_an_image_that_could_not_be_read(kind):
    images = np.random.default_rng(0).uniform(1, 255, (GROUP, SIZE, SIZE, 3)).astype(np.float32)
    weights = np.ones(GROUP, np.float32)
    weights[2] = images[2] = 0
    mixing = {**group(3, **{kind: 1.0}), "weights": weights}
    ours, labels = augmentation.mixed(
        tf.constant(images), tf.eye(GROUP), {k: tf.constant(v) for k, v in mixing.items()}
    )
    (reader,) = np.flatnonzero(mixing["partner"] == 2)
    assert reader != 2
    np.testing.assert_array_equal(ours[reader], images[reader])
    np.testing.assert_array_equal(labels[reader], np.eye(GROUP)[reader])
    others = [n for n in range(GROUP) if mixing["partner"][n] not in (2, n)]
    assert any((labels[n].numpy() != np.eye(GROUP)[n]).any() for n in others)


def test_mixup_and_cutmix_take_turns():
    kinds = [set(np.unique(group(seed, mixup=0.4, cutmix=1.0)["own"])) for seed in range(20)]
    of_cutmix = [kind <= {0, 255} for kind in kinds]
    assert 3 < sum(of_cutmix) < 17


def test_mixing_is_a_function_of_its_seed():
    for name in ("mixup", "cutmix"):
        one, again, other = (group(seed, **{name: 0.5}) for seed in (1, 1, 2))
        for key in one:
            np.testing.assert_array_equal(one[key], again[key])
        assert any((one[key] != other[key]).any() for key in one)


def test_rand_augment_is_keras_own_and_a_function_of_its_seed():
    config = Config(rand_augment=2, image_size=16)
    apply = augmentation.rand_augment(config)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    layer = keras.layers.RandAugment(
        value_range=(0, 255), num_ops=2, factor=config.rand_augment_factor, dtype="float32"
    )
    layer.generator = augmentation.ExampleSeeds()

    def kerass(seed):
        layer.generator.begin(seed, stream=0)
        return layer(tf.constant(image, tf.float32), training=True)

    def augmented(order):
        seeds = tf.data.Dataset.from_tensor_slices(np.array(order, np.int64))
        seeds = seeds.map(lambda n: tf.stack([n, n]))
        both = seeds.map(lambda seed: (apply(tf.constant(image), seed), kerass(seed)), 2)
        return dict(zip(order, both.as_numpy_iterator(), strict=True))

    one, other = augmented(list(range(16))), augmented(list(range(15, -1, -1)))
    for number, (ours, theirs) in one.items():
        assert ours.dtype == np.uint8
        assert np.abs(ours - np.clip(theirs, 0, 255)).max() <= 0.51
        np.testing.assert_array_equal(ours, other[number][0])
    assert len({ours.tobytes() for ours, _ in one.values()}) > 8
    assert augmentation.rand_augment(Config()) is None


def test_a_keras_that_has_no_such_layer(monkeypatch):
    monkeypatch.delattr(keras.layers, "CutMix")
    with pytest.raises(ValueError, match="has no CutMix; a newer Keras"):
        augmentation.mixing_layers(Config(cutmix=1.0))
