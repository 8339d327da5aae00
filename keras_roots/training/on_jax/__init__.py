"""Training where Keras runs on JAX; on one device, with all images in its memory.

    KERAS_BACKEND=jax python examples/train_cifar10.py --dataset=arrays --data_dir=DIR ...

The same network, loss, updates and schedule as on TensorFlow, to rounding, and
the same files in the work directory but TensorBoard's. An epoch's order, the
crops and the initial weights are drawn by another generator, so a run on one
backend is not a run on the other.
"""
