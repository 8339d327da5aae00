"""A mistake in a command line, or in what it names, is one line and exit code 2."""

import keras
import pytest

import keras_roots
from keras_roots.cli import main
from tests.colour_models import colour_folders, one_line, saved
from tests.sample_models import small_model


@pytest.fixture(scope="module", name="places")
def files(tmp_path_factory):
    """What the command lines below name."""
    folder = tmp_path_factory.mktemp("given")
    places = {"here": __file__, "folders": folder / "folders", "empty": folder / "empty"}
    for split in ("train", "val"):
        colour_folders(places["folders"] / split)
    places["images"] = places["folders"] / "val"
    for name in ("colour", "empty"):
        (folder / name).mkdir()
    saved(folder / "colour")
    places["colour"] = folder / "colour" / "model.keras"
    inputs, other = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
    flat = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(inputs))
    both = keras.layers.Conv2D(3, 1)(keras.layers.Add()([inputs, other]))
    models = {
        "small": small_model((8, 8, 8, 8)),
        "open": small_model((8, 8, 8, 8), image=(None, None, 3)),
        "grey": small_model(image=(16, 16, 1)),
        "grouped": keras_roots.RootNIN(root=8),
        "flat": keras.Model(inputs, flat, name="flat"),
        "two": keras.Model([inputs, other], both, name="two"),
    }
    for name, model in models.items():
        places[name] = folder / f"{name}.keras"
        model.save(places[name])
    for name in ("broken.tflite", "bad.jpg"):
        path = places[name.partition(".")[0]] = folder / name
        path.write_bytes(b"nothing that can be read")
    return places


_MISTAKES = {
    "cost <>": [
        ("resnet51", "Did you mean 'resnet50'"),
        ("missing.keras", "no file 'missing.keras'"),
        ("model.h5", "or a .keras file, as model.save writes"),
        ("nin --set root=4", "root has an option of its own: --root"),
        ("vgg11 --set geometry=szegedy", "vgg11 has no option 'geometry'"),
        ("googlenet --set geometry=deep", "Expected geometry as one of"),
        ("nin --plot bars.txt", "ends in .png, .pdf or .svg"),
        ("nin --plot missing/bars.png", "no folder 'missing'"),
        ("nin --root 64", "do not divide the channels of layer 'conv2_1_conv'"),
        ("nin --classes 0", "classes as a positive integer"),
        ("nin --image-size 2", "8x8 pixels or more"),
        ("nin --root=3", "power of two"),
        ("nin --root=0", "at least 1"),
        ("nin --root=-4", "at least 1"),
        ("nin --root=16,0", "at least 1"),
        ("nin --root=sixteen", "expected 16, column-8"),
        ("nin --root=16,x", "expected 16, column-8"),
        ("nin --root=ring-4", "expected 16, column-8"),
    ],
    "reproduce <>": [("vgg", "Unknown table 'vgg'")],
    "demo <>": [
        ("--data-dir somewhere", "data_dir is for cifar10 only"),
        ("--dataset cifar10 --data-dir missing", "no data folder 'missing'"),
        ("--root 1", "--root 2 or more"),
    ],
    "arrays <>": [
        ("digits {empty}", "empty' already"),
        ("digits b --examples 0", "--examples: expected 1 or more"),
        ("mnist b", "Expected a data set of: digits, cifar10"),
    ],
    "lowerings <>": [("net", "Unknown model 'net'"), ("a.keras", "no file 'a.keras'")],
    "export <> -o a.tflite": [
        ("resnet51", "Did you mean 'resnet50'"),
        ("a.keras", "no file 'a.keras'"),
        ("a.keras --root 8", "--root is for networks"),
        ("nin --weights a.weights.h5", "a.weights.h5"),
        ("nin --batch 0", "--batch: expected 1 or more"),
        ("nin --batch 1 --batch 2", "of one --batch"),
        ("nin --source-size 8x8", "--embed-preprocessing"),
        ("nin --tolerance 0", "--tolerance above 0"),
        ("nin --labels missing.txt", "no file of class names"),
        ("nin --threads 0", "--threads: expected 1 or more"),
        ("nin --image-size 0", "--image-size: expected 1 or more"),
        ("nin --calibration-images 0", "-images: expected 1 or more"),
        ("nin --precision int8", "give --calibration DIR"),
        ("nin --precision int8 --calibration .", "There are no images in '.'"),
        ("nin --calibration missing", "no folder of images"),
    ],
    "export nin -o <>": [
        ("missing/a.tflite", "no folder 'missing'"),
        (". --format tflite", "a folder where a file"),
        (".", "There is '.' already"),
        ("a.bin", "ends in .tflite, .stablehlo or .onnx"),
        ("missing/1", "no folder"),
        ("a.onnx --precision int8", "--precision is of TFLite"),
    ],
    "plan <>": [
        ("nin --budget macs=0.2", "closest is --root 32,64, with macs 0.392"),
        ("nin --budget speed=2", "a budget of macs, parameters, latency"),
        ("nin --budget macs=1G", "more than the dense network's macs, 222,486,528"),
        ("nin --budget latency=0.5 --latency none", "needs latency to be measured"),
    ],
    "plan --budget macs=0.5 <>": [
        ("nin --latency tflite", "Expected runtime as one of"),
        ("nin --limit 0", "--limit: expected 1 or more"),
        ("nin --family bush", "Expected families of"),
        ("nin --max-degree 1", "degree of 2 or more"),
        ("nin --set a=1", "has no option 'a'"),
        ("nin --plot a.txt", "ends in .png, .pdf or .svg"),
        ("nin --csv missing/a.csv", "no folder 'missing'"),
        ("mlp", "Unknown model 'mlp'"),
        ("a.keras", "no file 'a.keras'"),
        ("{open}", "give --image-size"),
        ("{small} --classes 3", "not for files"),
        ("{grouped}", "grouped already"),
        ("{flat}", "has no convolution"),
    ],
    "sensitivity <> --data {images}": [
        ("a.keras", "no file 'a.keras'"),
        ("a.tflite", "Expected a .keras file"),
        ("{colour} --images -1", "--images: expected 0 or more"),
        ("{colour} --batch-size 0", "batch_size of 1 or more"),
        ("{colour} --sparsity 0.5,1", "less than 1. Received: 1.0"),
        ("{colour} --bits 16", "bits from 2 to 8. Received: 16"),
        ("{colour} --bits none --sparsity none", "Received: none"),
        ("{colour} --bits 8;4", "numbers with commas between them, or none; received '8;4'"),
        ("{colour} --sparsity 8;4", "numbers with commas between them, or none; received '8;4'"),
        ("{colour} --layer conv1", "no layer 'conv1'"),
        ("{colour} --csv missing/a.csv", "no folder 'missing'"),
        ("{colour} --csv .", "a folder where a file"),
        ("{colour} --plot missing/a.png", "no folder 'missing'"),
        ("{colour} --plot a.txt", "ends in .png, .pdf or .svg"),
        ("{colour} --resize 15", "resize of the image size"),
        ("{colour} --image-size 32", "omit the image size"),
    ],
    "sensitivity {colour} <>": [("--data x --data-dir missing", "no data folder")],
    "analyze <> --data {images} -o found": [
        ("a.keras", "no file 'a.keras'"),
        ("a.tflite", "Expected a .keras file"),
        ("{small} a.h5", "Expected a .keras file"),
        ("{small} --images -1", "--images: expected 0 or more"),
        ("{small} --batch-size 0", "batch_size of 1 or more"),
        ("{small} --layer cnov1", "no layer 'cnov1'. Did you mean 'conv1'"),
        ("{small} --pair conv0,third", "no layer 'third'"),
        ("{small} --pair a", "expected two layers, A,B; received 'a'"),
        ("{small} --pair a,", "expected two layers, A,B; received 'a,'"),
        ("{small} --pair a,b,c", "expected two layers, A,B; received 'a,b,c'"),
        ("{small} --resize 15", "resize of the image size"),
        ("{small} --image-size 32", "omit --image-size"),
        ("{open}", "give --image-size"),
        ("{open} --image-size 0", "--image-size: expected 1 or more"),
        ("{open} --image-size 2", "Too few images to whiten the 8 filters"),
        ("{grey}", "square images of three colours"),
        ("{flat}", "'flat' has no convolution"),
        ("{two}", "one image as its input. 'two' has inputs of"),
        ("{small} --split missing", "no folder"),
        ("{small} --data-dir missing", "the name of a data set"),
    ],
    "compress {colour} --data {folders} --batch-size 7 -o out <>": [
        ("", "Nothing is to be compressed: give a --prune, a number of --cluster or --qat"),
        ("--prune 1", "Expected a sparsity above 0 and below 1"),
        ("--prune -0.5", "Expected a sparsity above 0 and below 1"),
        ("--prune nan", "Expected a sparsity above 0 and below 1"),
        ("--cluster 1", "Expected a number of clusters from 2 to 255"),
        ("--cluster 2 --prune 0.5", "from 3 to 255"),
        ("--prune 0.7 --schedule 2:4", "2:4 is a sparsity of 0.5"),
        ("--qat --epochs 0", "--epochs: expected 1 or more"),
        ("--qat --rounds 0", "--rounds: expected 1 or more"),
        ("--prune 0.5 --skip spacial", "has no layer 'spacial' with a kernel; it has"),
        ("--qat --learning-rate -1", "Expected learning_rate of 0 or more"),
        ("--qat --batch-size 100", "Expected a batch_size of the 7 training images"),
        ("--qat --config nothing.json", "There is no configuration file"),
        ("--qat --beside nothing.keras", "There is no file 'nothing.keras'"),
        ("--qat --beside colour=x.keras", "Two networks would be called 'colour'"),
        ("--qat --data nothing", "nothing"),
    ],
    "evaluate <>": [
        ("a.keras --data {images}", "no file 'a.keras'"),
        ("a.tflite --data {images}", "no file 'a.tflite'"),
        ("a.h5 --data {images}", "Expected a .keras file"),
        ("{broken} --data {images}", "cannot be loaded as a TFLite file"),
        ("{colour} --data ./missing", "'./missing' is no folder"),
        ("{colour} --data x --data-dir missing", "no data folder"),
        ("{colour} --data {empty}", "two class folders or more"),
        ("{colour} --data {images} --batch-size 0", "batch_size of 1"),
        ("{colour} --data {images} --resize 15", "resize of the image size"),
        ("{colour} --data {images} --image-size 32", "omit the image size"),
        ("{colour} --data {images} --image-size 0", "--image-size: expected 1 or more"),
        ("{colour} --data {images} --preprocessing pytorch", "invalid choice: 'pytorch'"),
    ],
    "predict {colour} <>": [
        ("missing.jpg", "no photo 'missing.jpg'"),
        ("{empty}", "There are no images in"),
        ("{images}/red/0.JPEG {bad}", "cannot be read as an image"),
        ("{images}/red --top 0", "--top: expected 1 or more"),
        ("{images}/red --resize 1", "resize of the image size"),
        ("{images}/red --classes none.txt", "no file of class names"),
    ],
    "benchmark <>": [
        ("build nin --reference ResNet51", "Did you mean 'ResNet50'"),
        ("build nin --rounds 0", "rounds of 1 or more"),
        ("inference nin", "do not divide the channels"),
        ("inference nin --set geometry=x", "nin has no option 'geometry'"),
        ("inference nin --threads 0", "threads of 1 or more"),
        ("inference nin -o missing/a.csv", "no folder 'missing'"),
        ("layers nin --rounds 0", "rounds of 1 or more"),
        ("layers nin -o missing/a.json", "no folder 'missing'"),
        ("layers nin net", "Unknown model 'net'"),
        ("plot missing.csv -o a.png", "no file 'missing.csv'"),
        ("plot {here} -o a.png", "no CSV file of benchmark inference"),
        ("plot missing.csv -o a.txt", "ends in .png, .pdf or .svg"),
        ("simplifications nin --rounds 0", "rounds of 1 or more"),
        ("operators missing.tflite", "no file 'missing.tflite'"),
        ("operators {here}", "is no TFLite file"),
        ("steps vgg", "Unknown model 'vgg'"),
        ("steps nin --rounds 0", "rounds of 1 or more"),
        ("steps nin --batch-size 0", "batch_size of 1 or more"),
        ("steps nin --lowering fast", "Expected --lowering"),
        ("steps nin --set geometry=x", "nin has no option 'geometry'"),
        ("steps nin -o missing/a.csv", "no folder 'missing'"),
        ("lowerings net", "Unknown model 'net'"),
        ("lowerings nin --rounds 0", "rounds of 1 or more"),
        ("lowerings nin -o missing/a.json", "no folder 'missing'"),
        ("accelerator net -o results", "Unknown model 'net'"),
    ],
}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (command.replace("<>", more), message)
        for command, mistakes in _MISTAKES.items()
        for more, message in mistakes
    ],
)
def test_a_mistake(line, message, places, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(line.format(**places).split())
    except SystemExit as exit_:  # Of what cannot be parsed.
        code = exit_.code
    assert code == 2
    assert message in one_line(capsys)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
