"""What a model sees in a photo, without TensorFlow, Keras or keras_roots.

  pip install ai-edge-litert numpy pillow
  python predict_photo.py model.tflite photo.jpg

model.tflite is of `keras-roots export`: what it takes and the names of its classes are attached to
it. The photo is taken as its pixels are stored; a camera's note to turn it (EXIF) is not heeded.
"""

import json
import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

MEAN, DEVIATION, BGR_MEAN = np.array(
    [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225], [103.939, 116.779, 123.68]], np.float32
)
PREPROCESSING = {
    "none": lambda pixels: pixels,
    "tf": lambda pixels: pixels / 127.5 - 1,
    "torch": lambda pixels: (pixels / 255 - MEAN) / DEVIATION,
    "caffe": lambda pixels: pixels[..., ::-1] - BGR_MEAN,
}


def resized(pixels: np.ndarray, size: int) -> np.ndarray:
    """Bilinear as in training, where Pillow would average when it reduces: [size, size, 3]."""
    for _ in range(2):
        places = ((np.arange(size) + 0.5) * len(pixels) / size - 0.5).clip(0, len(pixels) - 1)
        low, share = places.astype(int), (places % 1)[:, None, None]
        high = np.minimum(low + 1, len(pixels) - 1)
        pixels = (pixels[low] * (1 - share) + pixels[high] * share).swapaxes(0, 1)
    return np.floor(pixels + 0.5)


def main(model: str, photo: str) -> None:
    with zipfile.ZipFile(model) as archive:
        metadata = json.loads(archive.read("metadata.json"))
        named = "labels.txt" in archive.namelist()
        labels = archive.read("labels.txt").decode().splitlines() if named else None
    takes, gives = metadata["input"], metadata["output"]
    image = Image.open(photo).convert("RGB")
    interpreter = Interpreter(model_path=model)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    if len(given["shape"]) != 4 or len(made["shape"]) != 2:
        raise ValueError(f"{model} is no classifier of images")
    batch, height, width, _ = given["shape"]
    size = min(height, width)
    resize = takes["resize"] or (size if size < 64 else round(size * 256 / 224))
    # A file that crops by itself reads nothing beyond the square at the centre of an image.
    resize = size if takes["crop_inside"] else resize
    side = max(1, round(min(image.size) * size / resize))
    left, top = ((length - side) // 2 for length in image.size)
    square = resized(np.asarray(image)[top : top + side, left : left + side], size)
    values = np.zeros((height, width, 3), np.float32)
    top, left = (height - size) // 2, (width - size) // 2
    values[top : top + size, left : left + size] = square
    values = PREPROCESSING[takes["preprocessing"]](values)
    scale, zero_point = given["quantization"]
    if scale:
        limits = np.iinfo(given["dtype"])
        values = (np.rint(values / scale) + zero_point).clip(limits.min, limits.max)
    interpreter.set_tensor(given["index"], np.stack([values] * batch).astype(given["dtype"]))
    interpreter.invoke()
    scores = interpreter.get_tensor(made["index"])[0].astype(np.float32)
    scale, zero_point = made["quantization"]
    if scale:
        scores = (scores - zero_point) * scale
        if gives["values"] == "logits":  # Then the file ends before the softmax.
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
    for place in np.argsort(-scores, kind="stable")[:5]:
        print(f"{scores[place]:.4f}  {labels[place] if labels else f'class {place}'}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (zipfile.BadZipFile, KeyError):
        print(f"predict_photo.py: {sys.argv[1]} has no metadata of a classifier", file=sys.stderr)
        sys.exit(2)
    except (OSError, ValueError) as error:
        print(f"predict_photo.py: {error}", file=sys.stderr)
        sys.exit(2)
