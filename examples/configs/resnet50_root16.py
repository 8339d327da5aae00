"""ResNet-50 with filter groups, trained as the paper does: crops and mirroring only.

Command:  python examples/train_imagenet.py --config=resnet50_root16 --strategy=mirrored
Reached:  not measured here. The paper reports 73.24% top-1 and 91.76% top-5 (single crop).

The paper gives no learning rates, batch sizes or lengths; those below are the
usual ones of ResNet-50 (Goyal et al., arXiv:1706.02677, with step decay).
"""

from keras_roots.training import Config

CONFIG = Config(
    name="ResNet-50 root-16",
    reached="not measured; the paper reports 73.24% top-1, 91.76% top-5",
    model="resnet50",
    root="16",
    classes=1000,
    augmentation="paper",
    epochs=90,
    batch_size=256,
    learning_rate=0.1,
    schedule="step",
    decay_epochs=(30, 60, 80),
    decay_factor=0.1,
    warmup_epochs=5,
    weight_decay=1e-4,
)
