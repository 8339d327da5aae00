"""Images for calibration, from a folder."""

import keras
import numpy as np
import pytest

from keras_roots.export import calibration


def photographs(folder, count=6):
    rng = np.random.default_rng(0)
    for n in range(count):
        part = folder / f"class{n % 2}"
        part.mkdir(parents=True, exist_ok=True)
        pixels = rng.uniform(0, 255, size=(40 + n, 60, 3))
        keras.utils.save_img(part / f"{n}.png", pixels, scale=False)
    return folder


def test_images_of_a_folder(tmp_path):
    folder = photographs(tmp_path / "images")
    images = calibration.load_images(folder, (32, 24, 3), 4)
    assert images.shape == (4, 32, 24, 3)
    assert images.dtype == np.float32
    assert 200 < images.max() <= 255
    np.testing.assert_array_equal(calibration.load_images(folder, (32, 24, 3), 4), images)
    torch = calibration.load_images(folder, (32, 24, 3), 4, "torch")
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(torch, (images / 255 - mean) / deviation, atol=1e-4)
    assert calibration.load_images(folder, (8, 8, 1), 99).shape == (6, 8, 8, 1)


def test_folders_that_hold_no_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder of images"):
        calibration.load_images(tmp_path / "missing", (8, 8, 3), 1)
    (tmp_path / "text.txt").write_text("no image")
    with pytest.raises(ValueError, match="There are no images in"):
        calibration.load_images(tmp_path, (8, 8, 3), 1)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="cannot be read"):
        calibration.load_images(tmp_path, (8, 8, 3), 1)
    with pytest.raises(ValueError, match="one channel or three; the model takes 2"):
        calibration.load_images(tmp_path, (8, 8, 2), 1)
    with pytest.raises(ValueError, match="preprocessing as one of"):
        calibration.load_images(tmp_path, (8, 8, 3), 1, "imagenet")
    with pytest.raises(ValueError, match="one image or more"):
        calibration.load_images(tmp_path, (8, 8, 3), 0)
