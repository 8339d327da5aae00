import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_roots.data import images
from tests import sample_images


def bilinear(image, size):
    """Resizes a uint8 image pixel by pixel: half-pixel centres, no smoothing."""
    height, width, _ = image.shape
    result = np.zeros((size, size, 3))
    for y in range(size):
        for x in range(size):
            at_y, at_x = (y + 0.5) * height / size - 0.5, (x + 0.5) * width / size - 0.5
            y0, x0 = int(np.floor(at_y)), int(np.floor(at_x))
            for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = abs(1 - dy - (at_y - y0)) * abs(1 - dx - (at_x - x0))
                row, column = np.clip(y0 + dy, 0, height - 1), np.clip(x0 + dx, 0, width - 1)
                result[y, x] += weight * image[row, column]
    return result


@given(st.integers(9, 60), st.integers(9, 60), st.booleans(), st.randoms())
def test_a_crop_is_that_part_of_the_whole_image(height, width, is_png, random):
    rng = np.random.default_rng(random.randrange(2**32))
    image = sample_images.photograph(rng, height, width)
    content = (
        tf.io.encode_png(image).numpy()
        if is_png
        else sample_images.jpeg(image, chroma_downsampling=False)  # Else its border would blur.
    )
    y, x = random.randrange(height), random.randrange(width)
    box = [y, x, random.randint(1, height - y), random.randint(1, width - x)]
    cropped = images.cropped(content, lambda _: tf.constant(box), 8).numpy()
    whole = tf.io.decode_image(content, channels=3).numpy()
    part = whole[y : y + box[2], x : x + box[3]]
    assert np.abs(cropped - bilinear(part, 8)).max() <= 0.51


def test_of_the_same_size_nothing_is_resized():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    content = tf.io.encode_png(image).numpy()
    whole = images.cropped(content, lambda shape: images.centre_box(shape, 8, 8), 8)
    np.testing.assert_array_equal(whole, image)


def test_centre_box_is_that_of_the_resized_image():
    # 500 x 375 with its shorter side resized to 256, of which 224: 375 x 224 / 256 = 328.1.
    box = images.centre_box(tf.constant([375, 500, 3]), 224, 256).numpy()
    np.testing.assert_array_equal(box, [(375 - 328) // 2, (500 - 328) // 2, 328, 328])


@given(
    st.integers(1, 500),
    st.integers(1, 500),
    st.sampled_from([(224, 256), (32, 32)]),
    st.tuples(*[st.floats(0, 0.9999999403953552, width=32)] * 2),
)
def test_random_boxes_lie_within_the_image(height, width, sizes, uniforms):
    y, x, h, w = images.random_box(tf.constant([height, width, 3]), *sizes, uniforms).numpy()
    assert h == w == max(1, np.round(np.float32(min(height, width)) * (sizes[0] / sizes[1])))
    assert 0 <= y <= height - h
    assert 0 <= x <= width - w


def test_random_boxes_reach_everywhere():
    corners = [
        images.random_box(tf.constant([10, 12, 3]), 7, 10, [y, x]).numpy()[:2].tolist()
        for y in (0.0, 0.999)
        for x in (0.0, 0.999)
    ]
    assert corners == [[0, 0], [0, 5], [3, 0], [3, 5]]


def random_sized_crop(height, width, min_area, uniforms):
    """fb.resnet.torch's RandomSizedCrop, attempt by attempt."""
    for area, ratio, is_swapped, at_y, at_x in uniforms.astype(float):
        target = (min_area + (1 - min_area) * area) * height * width
        ratio = 3 / 4 + ratio * (4 / 3 - 3 / 4)
        w, h = round(np.sqrt(target * ratio)), round(np.sqrt(target / ratio))
        if is_swapped < 0.5:
            w, h = h, w
        if h <= height and w <= width:
            return [int((height - h + 1) * at_y), int((width - w + 1) * at_x), h, w]
    side = min(height, width)
    return [(height - side) // 2, (width - side) // 2, side, side]


@given(st.integers(1, 600), st.integers(1, 600), st.floats(0.01, 1), st.integers(0, 2**32 - 1))
def test_random_resized_boxes_are_those_of_fb_resnet_torch(height, width, min_area, seed):
    uniforms = np.random.default_rng(seed).random((images.ATTEMPTS, 5), np.float32)
    shape = tf.constant([height, width, 3])
    box = images.random_resized_box(shape, min_area, uniforms.ravel()).numpy()
    expected = random_sized_crop(height, width, min_area, uniforms)
    np.testing.assert_allclose(box, np.maximum(expected, [0, 0, 1, 1]), atol=1)  # float32 rounds.
    assert (box[:2] >= 0).all()
    assert (box[:2] + box[2:] <= [height, width]).all()


def test_random_resized_boxes_have_the_areas_and_shapes_asked_for():
    draws = np.random.default_rng(0).random((300, 5 * images.ATTEMPTS), np.float32)
    shape = tf.constant([300, 400, 3])
    boxes = np.array([images.random_resized_box(shape, 0.08, each).numpy() for each in draws])
    heights, widths = boxes[:, 2], boxes[:, 3]
    areas = heights * widths / 300 / 400
    assert 0.075 < areas.min() < 0.1
    assert areas.max() > 0.9
    assert 0.73 <= (widths / heights).min() < 0.8
    assert 1.25 < (widths / heights).max() <= 1.36


def test_where_no_rectangle_fits_the_central_square_is_taken():
    uniforms = np.full(5 * images.ATTEMPTS, 0.9, np.float32)
    box = images.random_resized_box(tf.constant([10, 90, 3]), 0.9, uniforms).numpy()
    np.testing.assert_array_equal(box, [0, 40, 10, 10])


def test_a_later_attempt_is_taken_if_the_first_does_not_fit():
    uniforms = np.full((images.ATTEMPTS, 5), 0.9, np.float32)
    uniforms[3] = [0, 0.5, 0.9, 0, 0.999]
    box = images.random_resized_box(tf.constant([20, 180, 3]), 0.08, uniforms.ravel()).numpy()
    ratio = 3 / 4 + (4 / 3 - 3 / 4) / 2
    h, w = round(np.sqrt(0.08 * 3600 / ratio)), round(np.sqrt(0.08 * 3600 * ratio))
    np.testing.assert_array_equal(box, [0, 180 - w, h, w])


def read(content: bytes, *, careful: bool, label: int = 3):
    box = [0, 0, 4, 4]

    def image_of(content, is_jpeg):
        return images.cropped(content, lambda _: tf.constant(box), 8, is_jpeg=is_jpeg)

    @tf.function
    def go(content):
        return images.or_blank(
            lambda: (content, tf.constant(label, tf.int64)), image_of, 8, careful=careful
        )

    image, label, is_read = go(tf.constant(content))
    assert image.shape == (8, 8, 3)
    return image.numpy(), int(label), bool(is_read)


PHOTOGRAPH = sample_images.photograph(np.random.default_rng(0), 40, 48)
JPEG = sample_images.jpeg(PHOTOGRAPH)
ODD_BUT_READABLE = {
    "grayscale": tf.io.encode_jpeg(PHOTOGRAPH[..., :1]).numpy(),
    "CMYK": sample_images.CMYK,
    "PNG": tf.io.encode_png(PHOTOGRAPH).numpy(),
    "PNG of 16 bits": tf.io.encode_png(PHOTOGRAPH.astype(np.uint16) * 257).numpy(),
    "PNG with alpha": tf.io.encode_png(np.dstack([PHOTOGRAPH, PHOTOGRAPH[..., :1]])).numpy(),
    "bytes after the end": JPEG + b"\0" * 7,
}
UNREADABLE = {
    "empty": b"",
    "one byte": b"\xff",
    "text": b"this is no image",
    "truncated": JPEG[: len(JPEG) * 2 // 3],
    "truncated PNG": ODD_BUT_READABLE["PNG"][:-20],
    "JPEG's beginning": JPEG[:3],
}


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("kind", ODD_BUT_READABLE)
def test_odd_images_are_read(kind, careful):
    content = ODD_BUT_READABLE[kind]
    image, label, is_read = read(content, careful=careful)
    assert (label, is_read) == (3, True)
    whole = tf.io.decode_image(content, channels=3, expand_animations=False).numpy()
    assert np.abs(image[4, 4].astype(int) - whole[2, 2]).max() <= 12


def test_cmyk_has_its_colours():
    image, *_ = read(sample_images.CMYK, careful=False)
    np.testing.assert_allclose(image[4, 4], [225, 48, 0], atol=4)


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_images_are_black(kind, careful):
    image, _, is_read = read(UNREADABLE[kind], careful=careful)
    assert not is_read
    assert not image.any()


def test_what_looks_whole_and_is_not_is_found_when_careful():
    content = b"\xff\xd8\xff" + b"this is no image" + b"\xff\xd9"
    assert not read(content, careful=True)[2]
    with pytest.raises(tf.errors.InvalidArgumentError):
        read(content, careful=False)
