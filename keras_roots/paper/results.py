"""What the paper reports of accuracy and speed, as data. It is theirs, not measured here.

Sources: Ioannou, Robertson, Cipolla and Criminisi, "Deep Roots", EMDNN workshop at NIPS 2016,
Table 1 (milliseconds of ResNet-50); the full paper, arXiv:1605.06489; and the data files in the
sources of Ioannou's thesis (github.com/yanii/phd-thesis, rootdata/, 2018) for the rest.
Accuracies are of one crop. Milliseconds are of one image in a forward pass over a large batch, in
Caffe with cuDNN and MKL, on two 10-core Intel Xeon E5-2680 v2 and an Nvidia Titan Z.
"""

import dataclasses

CONDITIONS = (
    "an image, at the networks' own sizes, of a large batch in Caffe (cuDNN, MKL) on 2 x 10-core "
    "Xeon E5-2680 v2 and a Titan Z"
)
# The networks that the figures are of, where ours has other forms as well.
FORMS = {
    "googlenet": "the paper's GoogLeNet is geometry=deep-roots",
    "resnet50": "the paper's ResNet-50 is the original, with the stride in the first 1x1",
}


@dataclasses.dataclass(frozen=True)
class Result:
    """A row of the paper.

    Attributes:
        top1, top5: accuracy, 0-1.
        cpu_ms, gpu_ms: of one image.
        top1_deviation: standard deviation of top1 over five initialisations.
    """

    top1: float
    top5: float | None = None
    cpu_ms: float | None = None
    gpu_ms: float | None = None
    top1_deviation: float | None = None


# By network of our registry, and topology; the paper's "original" is "dense".
RESULTS: dict[str, dict[str, Result]] = {
    "resnet50": {
        "dense": Result(0.7299, 0.9157, 621, 11.6),
        "root-2": Result(0.7271, 0.9121, 520, 11.1),
        "root-4": Result(0.7339, 0.9181, 566, 11.3),
        "root-8": Result(0.7337, 0.9183, 519, 10.7),
        "root-16": Result(0.7324, 0.9176, 479, 10.1),
        "root-32": Result(0.7292, 0.9147, 469, 10.1),
        "root-64": Result(0.7319, 0.9153, 426, 10.2),
    },
    "resnet200": {
        "dense": Result(1 - 0.2196, 1 - 0.0623),
        "root-8": Result(1 - 0.2205, 1 - 0.0626),
        "root-32": Result(1 - 0.2207, 1 - 0.0630),
    },
    "googlenet": {
        "dense": Result(0.6945, 0.8945, 315, 4.39),
        "root-2": Result(0.6949, 0.8935, 285, 4.37),
        "root-4": Result(0.6931, 0.8924, 273, 4.10),
        "root-8": Result(0.6908, 0.8905, 246, 3.72),
        "root-16": Result(0.6826, 0.8858, 207, 3.59),
    },
    "nin": {
        "dense": Result(0.9211, cpu_ms=39.0, top1_deviation=0.0013),
        "root-2": Result(0.9209),
        "root-4": Result(0.9202),
        "root-8": Result(0.9215, cpu_ms=24.4),
        "root-16": Result(0.9167),
        "column-2": Result(0.9197),
        "column-4": Result(0.9200),
        "column-8": Result(0.9192),
        "column-16": Result(0.9120),
        "tree-2": Result(0.9185),
        "tree-4": Result(0.9147),
        "tree-8": Result(0.9171),
        "tree-16": Result(0.9168),
    },
}
