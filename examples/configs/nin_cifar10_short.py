"""Network in Network on CIFAR-10 in 8 epochs, for a CPU.

Command:  python examples/sweep_cifar10.py --config=nin_cifar10_short --data_dir=... --jobs=2 \\
              --networks=dense,root-8,column-8 --workdir=...
Reached:  see docs/evidence.md.

As nin_cifar10_root8, but for its length: the learning rate rises for one epoch
and falls along a cosine, and activations are bfloat16, which processors with
AVX-512 BF16 compute in two thirds of the time of float32.
"""

import dataclasses

from nin_cifar10_root8 import CONFIG as PAPERS

CONFIG = dataclasses.replace(
    PAPERS,
    name="NIN, 8 epochs",
    reached="measured: see docs/evidence.md",
    epochs=8,
    learning_rate=0.05,
    schedule="cosine",
    warmup_epochs=1,
    precision="bfloat16",
)
