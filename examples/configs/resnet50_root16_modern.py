"""ResNet-50 with filter groups, trained as one does today.

Command:  python examples/train_imagenet.py --config=resnet50_root16_modern --strategy=mirrored
Reached:  not measured.

In the manner of torchvision's second recipe for ResNet-50 (V2 weights): cosine
decay, label smoothing, mixup and CutMix, RandAugment, a moving average of the
weights; here for 300 epochs, in bfloat16.
"""

import dataclasses

import resnet50_root16

CONFIG = dataclasses.replace(
    resnet50_root16.CONFIG,
    name="ResNet-50 root-16, modern",
    reached="not measured",
    model_options=("stride_in_1x1=false",),
    augmentation="full",
    color_jitter=0.0,
    lighting=0.0,
    rand_augment=2,
    label_smoothing=0.1,
    mixup=0.2,
    cutmix=1.0,
    epochs=300,
    batch_size=1024,
    schedule="cosine",
    weight_decay=2e-5,
    ema_decay=0.9999,
    precision="bfloat16",
)
