"""The paper's experiment: NIN on CIFAR-10, dense and with filter groups, trained alike.

  python examples/sweep_cifar10.py --data_dir=~/tensorflow_datasets --workdir=runs/cifar10 \\
      --networks=dense,root-8,column-8 --seeds=3

Each run is a row of results.csv as it finishes; results.md, error.png and
learning-curves.png are made anew with it. Interrupted at any moment, the same
command goes on; with more networks or seeds it adds to what is there.
--dry_run says what there is to do.

The default configuration is the paper's 300 epochs, which is for GPUs;
--config=nin_cifar10_short is of 8, for two cores and some hours.
"""

from pathlib import Path

from keras_roots.sweep import program

if __name__ == "__main__":
    program.main("nin_cifar10_root8", Path(__file__).with_name("configs"), __doc__)
