"""GoogLeNet with batch normalisation and filter groups, with both auxiliary classifiers.

Command:  python examples/train_imagenet.py --config=googlenet_root8 --strategy=mirrored
Reached:  not measured here. The paper reports 69.08% top-1 and 89.05% top-5 (single crop).

What differs from ResNet-50's configuration; the lengths and rates are ours, as
the paper gives none.
"""

import dataclasses

import resnet50_root16

CONFIG = dataclasses.replace(
    resnet50_root16.CONFIG,
    name="GoogLeNet root-8",
    reached="not measured; the paper reports 69.08% top-1, 89.05% top-5",
    model="googlenet",
    root="8",
    model_options=("geometry=deep-roots", "auxiliary_heads=true"),
)
