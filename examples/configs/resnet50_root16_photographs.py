"""ResNet-50 with filter groups on a few thousand photographs of 10 classes, on a CPU.

Command:  python examples/train_imagenet.py --config=resnet50_root16_photographs --data_dir=...
Reached:  see docs/training.md.

Small images, small batches and few epochs: what 2 cores can do in half an hour.
"""

from keras_roots.training import Config

CONFIG = Config(
    name="ResNet-50 root-16 on 10 classes, 128x128",
    reached="measured: see docs/training.md",
    model="resnet50",
    root="16",
    image_size=128,
    resize=146,
    augmentation="full",
    color_jitter=0.0,
    lighting=0.0,
    min_area=0.25,
    epochs=24,
    batch_size=32,
    learning_rate=0.05,
    base_batch_size=32,
    warmup_epochs=2,
    weight_decay=5e-4,
    checkpoint_every=100,
)
