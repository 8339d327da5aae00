"""Trains the paper's Network in Network on CIFAR-10, dense or with filter groups.

  python examples/train_cifar10.py --root=8 --data_dir=~/tensorflow_datasets \\
      --workdir=runs/nin-root8

--data_dir is where tensorflow-datasets has prepared cifar10. Interrupted at any
moment, the same command goes on. See what else a run can be told with --help.

On a machine that has JAX and no TensorFlow, with the folder that
`keras-roots arrays cifar10 cifar10-arrays` wrote on one that has it:

  KERAS_BACKEND=jax python examples/train_cifar10.py --root=8 --dataset=arrays \\
      --data_dir=cifar10-arrays --workdir=runs/nin-root8
"""

from pathlib import Path

from keras_roots.training import program

if __name__ == "__main__":
    program.run("nin_cifar10_root8", Path(__file__).with_name("configs"), __doc__)
