import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_roots.data import images, input_pipeline, sources
from keras_roots.data.input_pipeline import Share
from keras_roots.training.config import Config
from tests import sample_images

BATCH = 16
WHOLE = Share()


@pytest.fixture(scope="module", name="folder")
def make_folder(tmp_path_factory):
    return sample_images.digit_folders(tmp_path_factory.mktemp("digits"), train=9)


def settled(folder, **values):
    common = {"image_size": 16, "resize": 18, "batch_size": BATCH, "augmentation": "full"}
    config = Config(data_dir=str(folder), **{**common, **values})
    return config, sources.open_source(config)


def batches(config, source, first=0, last=3, share=WHOLE):
    made = input_pipeline.train_batches(config, source.train, first, last, share)
    return list(made.as_numpy_iterator())


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], name)


def joined(parts, replicas):
    """The batches of replicas as those of one: `parts` by pipeline, then in turns by replica."""
    local = replicas // len(parts)
    updates = len(parts[0]) // local
    return [
        {
            name: np.concatenate(
                [part[update * local + r][name] for part in parts for r in range(local)]
            )
            for name in parts[0][0]
        }
        for update in range(updates)
    ]


def test_each_epoch_has_each_example_once_in_another_order(folder):
    config, source = settled(folder, augmentation="none")
    size, epochs = source.train.size, 4  # 27 examples: batches of 16 go across the epochs' ends.
    last = input_pipeline.steps_until(epochs, config, source.train)
    assert last == -(-epochs * size // BATCH)
    examples = np.concatenate([b["examples"] for b in batches(config, source, last=last)])
    orders = examples[: epochs * size].reshape(epochs, size)
    for order in orders:
        assert sorted(order) == list(range(size))
    assert len({order.tobytes() for order in orders}) == epochs
    other, _ = settled(folder, augmentation="none", seed=1)
    assert (batches(other, source, last=1)[0]["examples"] != examples[:BATCH]).any()


def test_the_data_do_not_depend_on_replicas_or_where_it_goes_on(folder):
    config, source = settled(folder, mixup=0.3, cutmix=1.0)
    whole = batches(config, source)
    assert len({b["images"].tobytes() for b in whole}) == 3
    assert_equal(batches(config, source, first=2), whole[2:])
    parts = [batches(config, source, share=Share(2, 2, n)) for n in range(2)]
    assert_equal(joined(parts, 2), whole)
    assert_equal(joined([batches(config, source, share=Share(2))], 2), whole)
    assert_equal(batches(config, source, share=Share(careful=True)), whole)


@settings(max_examples=6)
@given(st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 2), (8, 4), (16, 2)]), st.integers(0, 3))
def test_shares_of_any_number_of_replicas(folder, counts, first):
    replicas, pipelines = counts
    config, source = settled(folder, augmentation="none")
    whole = batches(config, source, first, first + 2)
    parts = [
        batches(config, source, first, first + 2, Share(replicas, pipelines, n))
        for n in range(pipelines)
    ]
    assert_equal(joined(parts, replicas), whole)


def test_what_is_drawn_differs_from_epoch_to_epoch(folder):
    config, source = settled(folder, resize=32)
    seen = {}
    for batch in batches(config, source, last=4):
        for example, image in zip(batch["examples"], batch["images"], strict=True):
            seen.setdefault(example, []).append(image.tobytes())
    twice = [images for images in seen.values() if len(images) > 1]
    assert len(twice) > 10
    assert sum(len(set(images)) > 1 for images in twice) > 0.9 * len(twice)


def test_each_augmentation_crops_in_its_own_way():
    shape = tf.constant([300, 400, 3])
    draws = np.random.default_rng(0).random((20, 5 * images.ATTEMPTS), np.float32)

    def boxes(**values):
        config = Config(image_size=224, resize=256, **values)
        return {tuple(input_pipeline.box(shape, config, each).numpy()) for each in draws}

    side = round(300 * 224 / 256)
    centre = {((300 - side) // 2, (400 - side) // 2, side, side)}
    assert boxes(augmentation="none") == centre
    assert boxes(augmentation="paper", padding=4) == centre
    paper, full = boxes(augmentation="paper"), boxes(augmentation="full", min_area=0.5)
    assert {box[2:] for box in paper} == {(side, side)}
    assert len(paper) == len({box[2:] for box in full}) == 20
    assert min(height * width for _, _, height, width in full) > 0.49 * 300 * 400


def test_padding_is_of_the_mean_colour(folder):
    config, source = settled(
        folder, augmentation="paper", image_size=32, resize=32, padding=4, mean=(7, 80, 201)
    )
    (batch, *_) = batches(config, source)
    colours = np.array([7, 80, 201])
    shifts = []
    for number, image in zip(batch["examples"], batch["images"], strict=True):
        content, _ = source.train.read(tf.constant(number))
        padded = np.empty((40, 40, 3), np.uint8)
        padded[:] = colours
        padded[4:36, 4:36] = tf.io.decode_jpeg(content, channels=3)
        found = [
            (y, x)
            for y in range(9)
            for x in range(9)
            if (padded[y : y + 32, x : x + 32] == image).all()
        ]
        assert found
        shifts.append(found[0])
    assert len(set(shifts)) > 8


def test_evaluation_has_each_example_once(folder):
    config, source = settled(folder, batch_size=8)
    share = Share(4, 2, 0)
    parts = [
        list(
            input_pipeline.validation_batches(
                config, source.validation, dataclasses.replace(share, index=n)
            ).as_numpy_iterator()
        )
        for n in range(2)
    ]
    whole = joined(parts, 4)
    examples = np.concatenate([b["examples"] for b in whole])
    weights = np.concatenate([b["weights"] for b in whole])
    assert examples.tolist() == [*range(12), -1, -1, -1, -1]
    assert weights.tolist() == [1] * 12 + [0] * 4
    assert np.concatenate([b["labels"] for b in whole])[:12].tolist() == [0] * 4 + [1] * 4 + [2] * 4


def spoiled(tmp_path, folder, content: bytes):
    folder = shutil.copytree(folder, tmp_path / "spoiled")
    bad = folder / "train" / "digit-1" / "003.JPEG"
    bad.write_bytes(content)
    return folder, str(bad)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\xff\xd8\xff no JPEG, but it ends like one \xff\xd9"]
)
def test_an_image_that_cannot_be_read_has_weight_0(tmp_path, folder, content):
    folder, bad = spoiled(tmp_path, folder, content)
    config, source = settled(folder, augmentation="paper")
    last = input_pipeline.steps_until(1, config, source.train)
    made = input_pipeline.training(tf.distribute.get_strategy(), config, source, 0, last)
    examples, weights, images = [], [], []
    for batch in made:
        examples += batch["examples"].numpy().tolist()
        weights += batch["weights"].numpy().tolist()
        images += list(batch["images"].numpy())
    unread = {source.train.describe(e) for e, w in zip(examples, weights, strict=True) if w == 0}
    assert unread == {bad}
    assert len(examples) == last * BATCH
    assert not images[weights.index(0)].any()
    # The others are what they would be without it.
    clean, sound = settled(folder, augmentation="paper")
    expected = np.concatenate(
        [b["images"] for b in batches(clean, sound, 0, last, Share(careful=True))]
    )
    np.testing.assert_array_equal(images, expected)


def test_an_image_that_is_gone(tmp_path, folder):
    folder, bad = spoiled(tmp_path, folder, b"")
    config, source = settled(folder, augmentation="none")
    (folder / "train" / "digit-1" / "003.JPEG").unlink()
    made = input_pipeline.training(tf.distribute.get_strategy(), config, source, 0, 2)
    found = [(b["examples"].numpy(), b["weights"].numpy()) for b in made]
    gone = {source.train.describe(int(n)) for e, w in found for n in e[w == 0]}
    assert gone == {bad}


def test_batches_that_do_not_fall_into_equal_parts(folder):
    config, _ = settled(folder, batch_size=18)
    input_pipeline.check(config, 3)
    with pytest.raises(ValueError, match="4 replicas x 1 pieces.*Received: 18. Take 16 or 20"):
        input_pipeline.check(config, 4)
    with pytest.raises(ValueError, match="2 replicas x 3 pieces.*Take 6"):
        input_pipeline.check(dataclasses.replace(config, batch_size=4, accumulation=3), 2)
    mixing = dataclasses.replace(config, batch_size=32, mixup=0.2)
    input_pipeline.check(mixing, 4)
    with pytest.raises(ValueError, match="groups of 8 examples.*32 / 8 = 4"):
        input_pipeline.check(mixing, 8)
