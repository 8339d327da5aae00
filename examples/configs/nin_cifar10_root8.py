"""Network in Network on CIFAR-10 with filter groups, trained as the paper does.

Command:  python examples/train_cifar10.py --data_dir=...
Reached:  not measured here for all 300 epochs. The paper reports 92.15% top-1.

Images are mean-subtracted and padded by 4, with random 32x32 crops and
mirroring. A batch of 128 and 300 epochs are what the thesis's snapshots suggest;
the learning rate is ours, as the paper gives none.
"""

from keras_roots.training import Config

CONFIG = Config(
    name="NIN root-8",
    reached="not measured; the paper reports 92.15% top-1",
    model="nin",
    root="8",
    image_size=32,
    # Of the training images, by channel.
    mean=(125.31, 122.95, 113.87),
    std=(62.99, 62.09, 66.70),
    dataset="cifar10",
    classes=10,
    augmentation="paper",
    resize=32,
    padding=4,
    epochs=300,
    batch_size=128,
    learning_rate=0.1,
    base_batch_size=128,
    schedule="step",
    decay_epochs=(150, 225),
    warmup_epochs=5,
    weight_decay=1e-4,
)
