"""Distillation: a student learns a teacher's answers, and not the classes alone.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural
Network", arXiv:1503.02531, as keras.distillation has it.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_roots.compression import resumable
from keras_roots.compression.fine_tuning import FineTuning
from keras_roots.reporting import silent
from keras_roots.requirements import require_tensorflow
from keras_roots.surgery import (
    clone,
    copy_state,
    copy_with_logits,
    plain_copy,
    without_auxiliary_heads,
)
from keras_roots.surgery import graph as graphs
from keras_roots.training import optimization
from keras_roots.training.config import replaced
from keras_roots.training.steps import inputs_and_targets, summed


def require(what: str) -> None:
    """Raises unless Keras has distillation and runs on TensorFlow.

    Raises:
        ValueError: Keras runs on another backend.
        ModuleNotFoundError: Keras is too old.
    """
    require_tensorflow(what)
    if not hasattr(keras, "distillation"):
        raise ModuleNotFoundError(
            f"{what} needs Keras 3.12 or later. Received: Keras {keras.__version__}. Install it: "
            "pip install 'keras>=3.12'"
        )


def check(temperature: float, student_weight: float) -> None:
    """Raises a ValueError unless these are a temperature and a weight."""
    if not 0 < temperature < math.inf:
        raise ValueError(
            "Expected a temperature above 0, by which logits are divided before they are compared. "
            f"Received: {temperature}"
        )
    if not 0 <= student_weight <= 1:
        raise ValueError(
            "Expected a student_weight from 0 to 1: the share of the loss that is of the images' "
            f"classes, and not of the teacher's answers. Received: {student_weight}"
        )


def distill(
    teacher: keras.Model,
    student: keras.Model,
    tuning: FineTuning,
    *,
    temperature: float = 3.0,
    student_weight: float = 0.5,
    folder: Path | None = None,
    report: Callable[[str], object] = silent,
) -> keras.Model:
    """Trains a student to give a teacher's answers.

    The loss is the cross-entropy with the images' classes, times
    `student_weight`, and the Kullback-Leibler divergence of the teacher's
    probabilities from the student's, both at the temperature and times its
    square, times the rest of 1.

    Args:
        teacher, student: classifiers of the same images and classes,
            functional or Sequential, in float32, whose output is a softmax or
            logits; auxiliary heads are left out. They are not changed.
        tuning: the data, and how to train the student.
        temperature: by which logits are divided; the higher, the more the
            unlikely classes count.
        student_weight: from 0, the teacher's answers only, to 1, the classes
            only.
        folder: where checkpoints go; an interrupted call goes on from the
            last one there. None: nothing is written.
        report: takes lines of progress.

    Returns:
        A copy of the student with the weights that were trained.

    Raises:
        ValueError: an argument is not as above.
        ModuleNotFoundError: Keras is too old.
        DivergedError: the loss is no longer finite.
        Interrupted: SIGTERM or SIGINT came, and the state has been written.
    """
    require("Distillation")
    check(temperature, student_weight)
    teacher, student = (without_auxiliary_heads(each) for each in (teacher, student))
    for name, model in (("teacher", teacher), ("student", student)):
        _check_model(name, model, tuning)
    teaching, _ = copy_with_logits(teacher)
    learning, pairs = copy_with_logits(student)
    trainee = _Trainee(teaching, learning, tuning, float(temperature), float(student_weight))
    resumable.train(
        trainee,
        tuning.config,
        tuning.source,
        title="Distillation",
        folder=folder,
        report=report,
    )
    trained = {id(source): target for source, target in pairs}
    result, pairs = clone(student, plain_copy)
    for source, target in pairs:
        copy_state(trained[id(source)], target)
    return result


def _check_model(name: str, model: keras.Model, tuning: FineTuning) -> None:
    graphs.trace(model)  # Raises for models of another kind.
    tuning.check_fits(model)
    types = {str(tensor.dtype) for tensor in (*model.inputs, *model.outputs)}
    if types != {"float32"}:
        raise ValueError(
            f"Expected a {name} with inputs and outputs of float32. Received: '{model.name}' with "
            f"{' and '.join(sorted(types))}"
        )
    if name == "student" and not model.trainable_variables:
        raise ValueError(
            f"Expected a student with weights to train. Received: '{model.name}', all of whose "
            "layers are frozen. Set trainable=True."
        )


class _Trainee:
    def __init__(
        self,
        teacher: keras.Model,
        student: keras.Model,
        tuning: FineTuning,
        temperature: float,
        student_weight: float,
    ):
        self.student, self.tuning = student, tuning
        self.distiller = keras.distillation.Distiller(
            teacher,
            student,
            # By its name alone, as by default, the divergence would be of the logits themselves.
            keras.distillation.LogitsDistillation(temperature, loss=keras.losses.KLDivergence()),
            student_loss_weight=student_weight,
        )
        self.optimizer = optimization.make(replaced(tuning.config, {"precision": "float32"}), 0.0)
        self.optimizer.build(student.trainable_variables)
        self.distiller.compile(
            self.optimizer, loss=keras.losses.CategoricalCrossentropy(from_logits=True)
        )
        seeds = [v for v in student.variables if v.path.endswith("seed_generator_state")]
        resumable.seed(seeds, tuning.config.seed)

    def update(self, batch, learning_rate):
        import tensorflow as tf

        config, student = self.tuning.config, self.student
        images, targets = inputs_and_targets(batch, config, len(self.tuning.source.class_names))
        inputs, weights = self.tuning.inputs(images), batch["weights"]
        with tf.GradientTape() as tape:
            logits = self.distiller(inputs, training=True)
            # Keras's has no weights of examples. Without any that could be read, it is 0.
            read = [tf.boolean_mask(each, weights > 0) for each in (inputs, targets, logits)]
            distilled = self.distiller.compute_loss(*read)
            loss = tf.add_n([distilled, *student.losses])
        gradients = tape.gradient(loss, student.trainable_variables)
        self.optimizer.learning_rate = learning_rate
        self.optimizer.apply(gradients, student.trainable_variables)
        losses = tf.fill(tf.shape(weights), distilled)
        return summed(losses, logits, tf.argmax(targets, axis=-1), weights)

    def variables(self) -> list[Any]:
        """All that an update changes."""
        return [each.value for each in (*self.student.variables, *self.optimizer.variables)]
