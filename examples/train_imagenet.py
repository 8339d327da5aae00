"""Trains a root network on ImageNet, or any photographs in class folders.

  python examples/train_imagenet.py --config=resnet50_root16 --strategy=mirrored \\
      --data_dir=/data/imagenet --workdir=runs/resnet50-root16

--data_dir holds train/<class>/*.JPEG and val/<class>/*.JPEG; or, with
--dataset=imagenet2012 (imagenette, ...), what tensorflow-datasets has prepared.
Interrupted at any moment, the same command goes on. --dry_run checks everything
first. See what else a run can be told with --help.
"""

from pathlib import Path

from keras_roots.training import program

if __name__ == "__main__":
    program.run("resnet50_root16", Path(__file__).with_name("configs"), __doc__)
