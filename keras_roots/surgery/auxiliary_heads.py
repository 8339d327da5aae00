"""Classifiers on inner feature maps, which help in training and are left out afterwards.

A model with auxiliary heads has a dictionary of outputs, "predictions" and
the heads':

    model = keras_roots.RootGoogLeNet(auxiliary_heads=True)
    names = list(model.output)
    model.compile(
        "sgd",
        dict.fromkeys(names, "sparse_categorical_crossentropy"),
        loss_weights=loss_weights(model),
        metrics={"predictions": "accuracy"},
    )
    model.fit(images, dict.fromkeys(names, labels))
    without_auxiliary_heads(model).save("googlenet.keras")

Source: Szegedy et al., "Going Deeper with Convolutions", arXiv:1409.4842.
"""

import keras

_PREDICTIONS = "predictions"
_HEAD = "auxiliary_"
_WEIGHT = 0.3


def loss_weights(model: keras.Model) -> dict[str, float]:
    """For `compile`: 1 for the predictions, and 0.3 for each auxiliary head.

    Raises:
        ValueError: the model has no auxiliary heads.
    """
    if not _has_heads(model):
        raise ValueError(
            f"'{model.name}' has no auxiliary heads: its outputs are no dictionary of "
            f"'{_PREDICTIONS}' and '{_HEAD}...'. RootGoogLeNet(auxiliary_heads=True) has some."
        )
    return {name: 1.0 if name == _PREDICTIONS else _WEIGHT for name in model.output}


def without_auxiliary_heads(model: keras.Model) -> keras.Model:
    """The model for inference: its predictions only, on the same layers and weights.

    A model that has no auxiliary heads is returned as it is.
    """
    if not _has_heads(model):
        return model
    return keras.Model(model.inputs, model.output[_PREDICTIONS], name=model.name)


def _has_heads(model: keras.Model) -> bool:
    if isinstance(model, keras.Sequential) or not getattr(model, "outputs", None):
        return False
    outputs = model.output
    if not isinstance(outputs, dict) or _PREDICTIONS not in outputs:
        return False
    # With an output that is neither, it is a model of someone else, who wants all of them.
    heads = [name for name in outputs if name != _PREDICTIONS]
    return bool(heads) and all(name.startswith(_HEAD) for name in heads)
