"""Everything that pip knows of the package; tools are configured in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    # tfds imports importlib_resources without declaring it.
    "datasets": [
        "absl-py>=1.2",
        "tensorflow-datasets>=4.9.6",
        "importlib_resources",
        "scikit-learn>=1.3",
        "scipy>=1.11",
    ],
    "compression": [
        "keras>=3.12",  # Which has distillation.
        "tensorflow-model-optimization>=0.8.0",
        "tf-keras>=2.17",
        # tensorflow-model-optimization imports distutils, which Python 3.12 has no more.
        "setuptools; python_version >= '3.12'",
    ],
    "litert": ["ai-edge-litert>=2.3"],
    "onnx": ["onnx>=1.16", "onnxruntime>=1.18", "tf2onnx>=1.16"],
    "plots": ["matplotlib>=3.8"],
    "rootify": ["scipy>=1.11"],
    "runtimes": ["onnxruntime>=1.18", "openvino>=2024.4", "tf2onnx>=1.16"],
    "xla": ["jax>=0.4.34"],
}
DEVELOPMENT = [
    "hypothesis>=6.100",
    "mypy>=1.10",
    "pytest>=8.0",
    "pytest-xdist>=3.5",
    "ruff>=0.6",
    "setuptools>=77",
]

setup(
    name="keras_roots",
    version="0.1.0",
    description="Convolutional networks with hierarchical filter groups, for Keras 3",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["keras_roots", "keras_roots.*"]),
    package_data={"keras_roots": ["py.typed", "lowering/measured.json"]},
    install_requires=["keras>=3.5", "numpy>=1.26", "tensorflow>=2.17"],
    extras_require={
        **EXTRAS,
        # But what is only compared with.
        "all": sorted({r for name in EXTRAS if name != "runtimes" for r in EXTRAS[name]}),
        "development": DEVELOPMENT,
    },
    entry_points={"console_scripts": ["keras-roots = keras_roots.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
