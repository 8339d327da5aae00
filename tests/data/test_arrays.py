import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_roots.cli import main
from keras_roots.data import LabelledImages, arrays, load


def some(train=7, test=3, size=(4, 5), classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return LabelledImages(
        "some",
        rng.integers(0, 256, (train, *size, 3)).astype(np.uint8),
        rng.integers(0, classes, train),
        rng.integers(0, 256, (test, *size, 3)).astype(np.uint8),
        rng.integers(0, classes, test),
        class_names=tuple(f"class {n}" for n in range(classes)),
        mirror=True,
        background=100,
    )


def same(one, other):
    for field in dataclasses.fields(LabelledImages):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(ours, np.ndarray):
            assert ours.dtype == theirs.dtype, field.name
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert ours == theirs, field.name


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 300))
def test_what_is_written_is_read(tmp_path_factory, train, test, shard_bytes):
    images = some(train, test)
    folder = arrays.write(tmp_path_factory.mktemp("arrays") / "a", images, shard_bytes=shard_bytes)
    same(arrays.read(folder), images)
    each = max(1, shard_bytes // 60)  # An image's bytes: 4 * 5 * 3.
    parts = sorted(folder.glob("train_images*.npy"))
    assert [len(np.load(path)) for path in parts] == [
        min(each, train - begin) for begin in range(0, train, each)
    ]


def test_files_that_someone_else_wrote(tmp_path):
    images = some()
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}_images.npy", getattr(images, f"{split}_images"))
        labels = getattr(images, f"{split}_labels").astype(np.uint8)
        np.save(tmp_path / f"{split}_labels.npy", labels)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    found = arrays.read(tmp_path)
    expected = dataclasses.replace(
        images,
        name=tmp_path.name,
        class_names=("a", "b", "c"),
        mirror=False,
        background=round(images.train_images.mean()),
    )
    same(found, expected)


@pytest.fixture(name="folder")
def make_folder(tmp_path):
    return arrays.write(tmp_path / "a", some(), shard_bytes=180)


def replace(folder, name, array):
    for path in folder.glob(f"{name}*.npy"):
        path.unlink()
    np.save(folder / f"{name}.npy", array)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train_images", np.zeros((7, 4, 5, 3)), r"uint8 .*Received: float64 \[7, 4, 5, 3\]"),
        ("train_images", np.zeros((7, 4, 5), np.uint8), r"Received: uint8 \[7, 4, 5\]"),
        ("train_images", np.zeros((0, 4, 5, 3), np.uint8), "There are no train_images"),
        ("test_images", np.zeros((3, 4, 4, 3), np.uint8), r"one size.*\[4, 4, 3\]"),
        ("test_labels", np.zeros(3), "test_labels as integers"),
        ("test_labels", np.zeros(4, int), r"as integers, \[3\], one for each"),
        ("train_labels", np.full(7, 3), "from 0 to 2, of 3 classes. Received: 3 to 3"),
        ("train_labels", np.full(7, -1), "Received: -1 to -1"),
        ("train_labels", np.array(3), "do not fit together"),
    ],
)
def test_arrays_that_are_not_right(folder, name, array, message):
    replace(folder, name, array)
    with pytest.raises(ValueError, match=message):
        arrays.read(folder)


def test_files_that_are_not_right(folder, tmp_path):
    def refused(error, message):
        with pytest.raises(error, match=message):
            arrays.read(folder)

    part = folder / "train_images-00001-of-00003.npy"
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    refused(ValueError, "train_images-00001-of-00003.npy' cannot be read as an array")
    np.save(part, np.array([{"a": 1}]), allow_pickle=True)  # Which could be any code.
    refused(ValueError, "cannot be read as an array")
    np.save(part, np.zeros((1, 4, 4, 3), np.uint8))
    refused(ValueError, "do not fit together")
    with part.open("wb") as file:
        np.savez(file, a=np.zeros(3))
    refused(ValueError, "is an archive of arrays")
    part.unlink()
    refused(FileNotFoundError, "incomplete: it lacks train_images-00001-of-00003.npy")
    part.write_bytes(content)
    np.save(folder / "train_images.npy", np.zeros((7, 4, 5, 3), np.uint8))
    refused(ValueError, "holds train_images more than once")
    (folder / "train_images.npy").unlink()
    for text in ("[", "[]", '{"name": "a", "mirror": 1, "background": 0}'):
        (folder / "about.json").write_text(text)
        refused(ValueError, "about.json' is not as")
    (folder / "about.json").unlink()
    (folder / "classes.txt").unlink()
    refused(FileNotFoundError, "lacks classes.txt")
    (folder / "test_labels.npy").unlink()
    refused(FileNotFoundError, "lacks test_labels.npy")
    with pytest.raises(FileNotFoundError, match="no data folder"):
        arrays.read(tmp_path / "missing")


def test_what_cannot_be_written(tmp_path):
    for change, message in (
        ({"train_images": np.zeros((7, 4, 5, 3))}, "uint8"),
        ({"class_names": ("a", "b\nc", "d")}, "class names of one line"),
    ):
        with pytest.raises(ValueError, match=message):
            arrays.write(tmp_path / "a", dataclasses.replace(some(), **change))
    with pytest.raises(ValueError, match="shard_bytes of 1"):
        arrays.write(tmp_path / "a", some(), shard_bytes=0)
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path, capsys):
    folder = tmp_path / "digits"
    assert main(["arrays", "digits", str(folder), "--examples", "50"]) == 0
    assert "50 images to train on, 360 to test on, 10 classes; 6 files" in capsys.readouterr().out
    same(arrays.read(folder), load("digits").take(50))
    assert json.loads((folder / "about.json").read_text())["name"] == "digits"
