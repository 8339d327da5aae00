"""The paper's experiment: networks of one kind with other filter groups, trained alike.

    base = Config(model="nin", dataset="cifar10", epochs=300, ...)
    run(base, ["dense", "root-8", "column-8"], seeds=[0, 1, 2], folder="runs/cifar10")

Every network is trained with the same configuration, from several seeds. The
same from the command line: examples/sweep_cifar10.py.

Source: Ioannou, Robertson, Cipolla and Criminisi, "Deep Roots: Improving CNN
Efficiency with Hierarchical Filter Groups", arXiv:1605.06489, where NIN is
trained on CIFAR-10 dense and with root, column and tree topologies.
"""

from keras_roots.sweep.experiment import PAPER, Experiment
from keras_roots.sweep.runner import run

__all__ = ["PAPER", "Experiment", "run"]
