"""SavedModels, StableHLO and ONNX: each loads in its own runtime and computes what Keras does."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from keras_roots import export
from keras_roots.export import (
    attachments,
    converted_file,
    onnx,
    savedmodel,
    separately,
    stablehlo,
    warmup,
)
from keras_roots.layers import GroupedConv2D
from tests.processes import python

SIZE = 12
LABELS = ("cat", "dog", "bird")


@pytest.fixture(scope="module", name="model")
def make_model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            # As those of our training programs begin.
            keras.layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 1, 2]),
            keras.layers.Conv2D(8, 3, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            GroupedConv2D(16, 3, groups=4, strides=2),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, "softmax", name="predictions"),
        ],
        name="small_root-4",
    )


@pytest.fixture(scope="module", name="images")
def make_images():
    return np.random.default_rng(0).normal(size=(3, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module", name="several")
def make_several():
    """Two inputs, one of which is of integers, and two outputs by name."""
    image, kind = keras.Input((8, 8, 3), name="image"), keras.Input((2,), dtype="int32", name="a b")
    maps = GroupedConv2D(6, 3, groups=3)(image)
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    kinds = keras.layers.Flatten()(keras.layers.Embedding(5, 4)(kind))
    scores = keras.layers.Dense(3)(keras.layers.Concatenate()([pooled, kinds]))
    return keras.Model([image, kind], {"maps": maps, "scores": scores}, name="several")


def inputs_of_several():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(3, 8, 8, 3)).astype(np.float32), rng.integers(0, 5, (3, 2))]


def read_requests(path):
    """The warm-up requests, by a description of the protocol that is not the writer's."""
    file = descriptor_pb2.FileDescriptorProto(name="log.proto", package="t", syntax="proto3")
    fields = {
        "Log": [("predict_log", 6, ".t.Predict")],
        "Predict": [("request", 1, ".t.Request")],
        "Request": [("model_spec", 1, ".t.Spec"), ("inputs", 2, ".t.Entry")],
        "Entry": [("key", 1, None), ("value", 2, "bytes")],
        "Spec": [("name", 1, None), ("signature_name", 3, None)],
    }
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, of_message in fields.items():
        described = file.message_type.add(name=message)
        for name, number, kind in of_message:
            field = described.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if name == "inputs" else kinds.LABEL_OPTIONAL
            if kind in (None, "bytes"):
                field.type = kinds.TYPE_BYTES if kind else kinds.TYPE_STRING
            else:
                field.type, field.type_name = kinds.TYPE_MESSAGE, kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    log = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Log"))
    for record in tf.data.TFRecordDataset(str(path)):
        request = log.FromString(record.numpy()).predict_log.request
        tensors = {}
        for entry in request.inputs:
            proto = tf.make_tensor_proto(0)
            proto.ParseFromString(entry.value)
            tensors[entry.key] = tf.make_ndarray(proto)
        yield request.model_spec, tensors


@pytest.mark.parametrize("jit_compile", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_savedmodel(tmp_path, model, images, jit_compile):
    path = tmp_path / "1"
    artifact = export.export_savedmodel(
        model, path, images, jit_compile=jit_compile, labels=LABELS, batches=(1, 4)
    )
    assert (artifact.comparison.images, artifact.comparison.top1_agreement) == (3, 1.0)
    assert artifact.comparison.max_difference < 1e-6
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    for batch in (1, 3):
        (scores,) = serve(images=tf.constant(images[:batch])).values()
        np.testing.assert_allclose(scores, model.predict(images[:batch], verbose=0), atol=1e-6)
    weights = np.asarray(model.get_layer("predictions").kernel).tobytes()
    assert (path / "saved_model.pb").read_bytes().count(weights) == 1
    definition = serve.graph.as_graph_def()
    nodes = [node for function in definition.library.function for node in function.node_def]
    kinds = {node.op for node in (*definition.node, *nodes)}
    assert "FusedBatchNormV3" not in kinds
    compiled = [
        function.attr["_XlaMustCompile"].b
        for function in definition.library.function
        if "_XlaMustCompile" in function.attr
    ]
    assert any(compiled) == jit_compile
    extra = path / "assets.extra"
    metadata = json.loads((extra / "metadata.json").read_text())
    assert (metadata["name"], metadata["root"]) == ("small_root-4", "root-4")
    assert metadata["output"]["values"] == "probabilities"
    assert (extra / "labels.txt").read_text().split() == list(LABELS)
    requests = list(read_requests(extra / warmup.FILE))
    assert [tensors["images"].shape[0] for _, tensors in requests] == [1, 4]
    for specification, tensors in requests:
        assert specification.name == "small_root-4"
        assert specification.signature_name == "serving_default"
        np.testing.assert_array_equal(tensors["images"][0], images[0])
    assert [file.name for file in tmp_path.iterdir()] == ["1"]


def test_stablehlo_runs_in_a_process_without_tensorflow(tmp_path, model, images):
    path = tmp_path / "model.stablehlo"
    artifact = export.export_stablehlo(model, path, images, batch=2, labels=LABELS)
    assert artifact.comparison.top1_agreement == 1.0
    assert attachments.read(path)[1] == LABELS
    np.save(tmp_path / "images.npy", images[:2])
    # The lines that the report prints, as they are.
    program = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        f"import numpy; images = numpy.load({str(tmp_path / 'images.npy')!r})\n"
        f"{artifact.usage}\n"
        "print(outputs['predictions'].tolist())"
    )
    made = json.loads(python(program, JAX_PLATFORMS="cpu"))
    np.testing.assert_allclose(made, model.predict(images[:2], verbose=0), atol=1e-6)


def test_stablehlo_for_a_gpu_is_verified_on_the_cpu(tmp_path, model, images):
    path = tmp_path / "model.stablehlo"
    artifact = export.export_stablehlo(model, path, images, target="gpu")
    assert artifact.metadata["platforms"] == ["cuda"]
    if "GPU" not in artifact.comparison.runtime:
        assert any("no GPU here" in note for note in artifact.notes)


def test_onnx(tmp_path, model, images):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    path = tmp_path / "model.onnx"
    artifact = export.export_onnx(model, path, images, labels=LABELS)
    assert artifact.operators["Conv"] == 2
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        (scores,) = session.run(None, {"images": images[:batch]})
        np.testing.assert_allclose(scores, model.predict(images[:batch], verbose=0), atol=1e-6)
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["metadata.json"])["labels"] == 3
    assert properties["labels.txt"].split() == list(LABELS)


@pytest.mark.parametrize(
    "kind",
    [
        "tflite",
        "onnx",
        pytest.param("stablehlo", marks=pytest.mark.slow),
        pytest.param("savedmodel", marks=pytest.mark.slow),
    ],
)
def test_several_inputs_and_outputs(tmp_path, several, kind):
    if kind == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
    inputs = inputs_of_several()
    exporter = getattr(export, f"export_{kind}")
    artifact = exporter(several, tmp_path / "model", inputs)
    assert artifact.comparison.top1_agreement is None
    assert artifact.comparison.max_difference < 1e-5
    assert [each["name"] for each in artifact.metadata["outputs"]] == ["maps", "scores"]
    assert [each["name"] for each in artifact.metadata["inputs"]] == ["image", "a_b"]
    expected = several.predict(inputs, verbose=0)
    if kind == "tflite":
        from keras_roots.export.interpreter import make_interpreter

        run = make_interpreter(artifact.path).get_signature_runner()
        made = run(image=inputs[0][:1], a_b=inputs[1][:1].astype(np.int32))
        for name, value in made.items():
            np.testing.assert_allclose(value, expected[name][:1], atol=1e-5)
    if kind == "savedmodel":
        serve = tf.saved_model.load(str(artifact.path)).signatures["serving_default"]
        made = serve(image=tf.constant(inputs[0]), a_b=tf.constant(inputs[1], tf.int32))
        for name, value in made.items():
            np.testing.assert_allclose(value, expected[name], atol=1e-5)


EXPORTERS = {
    "tflite": (export.export_tflite, converted_file, "run_by_name"),
    "savedmodel": (export.export_savedmodel, savedmodel, "run_separately"),
    "stablehlo": (export.export_stablehlo, stablehlo, "run_separately"),
    "onnx": (export.export_onnx, onnx, "_run"),
}


@pytest.mark.parametrize("kind", EXPORTERS)
def test_wrong_outputs_are_refused_and_what_was_there_stays(
    tmp_path, model, images, kind, monkeypatch
):
    if kind == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
    exporter, module, name = EXPORTERS[kind]
    path = tmp_path / "model"
    if kind == "savedmodel":
        path.mkdir()
        (path / "mine.txt").write_text("mine")
    else:
        path.write_text("mine")
    with pytest.raises(FileExistsError, match="already"):
        exporter(model, path, images, overwrite=False)
    wrong = np.full((3, 3), 0.2, np.float32)
    outputs = (wrong,) if kind == "onnx" else {"predictions": wrong}
    monkeypatch.setattr(module, name, lambda *_, **__: outputs)
    with pytest.raises(RuntimeError, match="differ from Keras's by up to"):
        exporter(model, path, images)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        exporter(model, path, images)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert (path / "mine.txt" if kind == "savedmodel" else path).read_text() == "mine"


@pytest.mark.slow
def test_a_folder_that_is_no_savedmodel(tmp_path):
    with pytest.raises(RuntimeError, match="cannot be run in another process: .*SavedModel"):
        separately.run_separately("tensorflow", tmp_path, {"images": np.zeros(1)})


def test_bad_arguments(tmp_path, model, images):
    path = tmp_path / "model"
    for exporter, arguments, message in (
        (export.export_savedmodel, {"batches": (0,)}, "batches of 1 or more"),
        (export.export_savedmodel, {"target": "tpu"}, "target as one of: cpu, gpu"),
        (export.export_savedmodel, {"labels": ["cat"]}, "a label for each class.*1 labels"),
        (export.export_stablehlo, {"batch": 0}, "batch of 1 or more"),
        (export.export_tflite, {"batch": 0}, "batch of 1 or more"),
        (export.export_tflite, {"interface": "int8"}, "interface of int8 is of the precision"),
        (export.export_tflite, {"interface": "int4"}, "interface as one of: float32, int8"),
    ):
        with pytest.raises(ValueError, match=message):
            exporter(model, path, images, **arguments)
    with pytest.raises(FileNotFoundError, match="no folder"):
        export.export_savedmodel(model, tmp_path / "missing" / "1", images)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="a file where a folder"):
        export.export_savedmodel(model, tmp_path / "file", images)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
