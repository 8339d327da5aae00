"""Gives a network of keras.applications filter groups, and saves it.

    python examples/rootify_application.py --network=EfficientNetV2B0 --root=8 \\
        --output=rooted.keras

With --weights=imagenet the network's trained weights are loaded (Keras
downloads them), and --start=permuted or block-diagonal keeps those that
remain; train it further then, for its accuracy is gone.
"""

from pathlib import Path

import keras
from absl import app, flags

import keras_roots

_NETWORK = flags.DEFINE_string("network", "ResNet50", "Name of a function of keras.applications.")
_ROOT = flags.DEFINE_integer("root", 16, "Degree of the root topology.")
_KEEP = flags.DEFINE_multi_string("keep", [], "Name or pattern of layers to leave as they are.")
_WEIGHTS = flags.DEFINE_string("weights", None, "imagenet, or a file of weights. None: random.")
_START = flags.DEFINE_enum(
    "start",
    "random",
    ["random", "block-diagonal", "permuted"],
    "What becomes of the weights; permuted needs the extra 'rootify'.",
)
_OUTPUT = flags.DEFINE_string("output", None, "Where to save the model, *.keras. None: nowhere.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}", exitcode=2)
    output = Path(_OUTPUT.value) if _OUTPUT.value else None
    if output and (output.suffix != ".keras" or not output.parent.is_dir() or output.exists()):
        raise app.UsageError(f"Expected a new *.keras in an existing folder: {output}", exitcode=2)
    build = getattr(keras.applications, _NETWORK.value, None)
    if not _NETWORK.value[:1].isupper() or build is None:
        raise app.UsageError(f"keras.applications has no {_NETWORK.value!r}", exitcode=2)
    try:
        model = build(weights=_WEIGHTS.value)
        rooted = keras_roots.rootify(model, _ROOT.value, keep=_KEEP.value, weights=_START.value)
    except (ValueError, ModuleNotFoundError) as error:
        raise app.UsageError(str(error), exitcode=2) from error
    if output:
        rooted.save(output)


if __name__ == "__main__":
    app.run(main)
