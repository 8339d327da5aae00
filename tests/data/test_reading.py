"""Images to look at, in batches."""

import math

import numpy as np
import pytest

from keras_roots.data import Images
from tests.colour_models import COLOURS, colour_folders

SIZE = 16


def test_images_are_read_without_labels(tmp_path):
    data = colour_folders(tmp_path)
    (tmp_path / "green" / "bad.JPEG").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("no image")
    read = Images(data, SIZE, batch_size=3)
    assert (read.size, read.name) == (8, f"{data.parent.name}/{data.name}")
    for _ in range(2):  # It can be read again.
        batches = list(read)
        assert [len(batch) for batch in batches] == [3, 2, 2]
        assert {batch.dtype for batch in batches} == {np.dtype(np.uint8)}
        shown = [COLOURS[name] for name in ["blue"] * 3 + ["green", "red", "red", "green"]]
        assert np.abs(np.concatenate(batches).mean(axis=(1, 2)) - shown).max() < 3
        assert [name.rpartition("/")[2] for name in read.unread] == ["bad.JPEG"]
    few = Images(data / "blue", SIZE, images=2, preprocessing="torch")  # A folder of images alone.
    (batch,) = few
    expected = (np.array(COLOURS["blue"]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert np.allclose(batch.mean(axis=(1, 2)), expected, atol=0.05)
    assert batch.shape == (2, SIZE, SIZE, 3)
    only_bad = tmp_path / "bad"
    only_bad.mkdir()
    (only_bad / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="None of the 1 images of .* can be read, such as .*a.png"):
        list(Images(only_bad, SIZE))
    with pytest.raises(ValueError, match="images of 1 or more. Received: 0"):
        Images(data, SIZE, images=0)
    (only_bad / "a.png").unlink()
    with pytest.raises(ValueError, match="There are no images in"):
        Images(only_bad, SIZE)


def test_labels_of_those_that_were_read(tmp_path, monkeypatch):
    data, lines = colour_folders(tmp_path), []
    (tmp_path / "green" / "bad.JPEG").write_bytes(b"no image")
    read = Images(data, SIZE, labelled=True, batch_size=3)
    assert (read.name, read.class_names) == (str(data), ("blue", "green", "red"))
    seconds = "keras_roots.reporting.progress._SECONDS_BETWEEN_LINES"
    monkeypatch.setattr(seconds, math.inf)
    found = list(read.batches(lines.append))
    assert {images.shape for images, *_ in found} == {(3, SIZE, SIZE, 3)}
    assert [is_read.tolist() for _, is_read, _ in found] == [
        [True] * 3,
        [True, False, True],
        [True, True, False],
    ]
    assert [labels.tolist() for *_, labels in found] == [[0] * 3, [1, 2], [2, 2]]
    assert lines == []
    monkeypatch.setattr(seconds, 0)
    list(read.batches(lines.append))
    assert lines == ["3 of 8 images", "6 of 8 images", "8 of 8 images"]
