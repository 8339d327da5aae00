"""`keras-roots benchmark fine-tuning`: what an update costs while a network is compressed."""

import argparse

from keras_roots.cli.options import add_format, add_root, formatted, to_stderr


def add(kinds) -> None:
    command = kinds.add_parser(
        "fine-tuning",
        help="updates while a network is pruned, clustered or quantised",
        description="Times updates of a network of random weights, in turns: as training makes "
        "them; in tf-keras, to which `keras-roots compress` brings a network; with each of "
        "tensorflow-model-optimization's wrappers; and the last with tf-keras's own grouped "
        "convolutions.",
    )
    command.add_argument("model", help="name of a network, such as resnet50")
    add_root(command, "16")
    command.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="(default: the network's)"
    )
    command.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="(default: %(default)s)"
    )
    command.add_argument(
        "--rounds",
        type=int,
        default=10,
        metavar="N",
        help="timed updates of each (default: %(default)s)",
    )
    command.add_argument(
        "--no-stock", action="store_true", help="leave the last out, which takes long"
    )
    add_format(command)
    command.set_defaults(run=_fine_tuning)


def _fine_tuning(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark import fine_tuning_updates
    from keras_roots.timing.measure import conditions, describe

    found = fine_tuning_updates.updates(
        arguments.model,
        arguments.root,
        image_size=arguments.image_size,
        batch_size=arguments.batch_size,
        rounds=arguments.rounds,
        stock=not arguments.no_stock,
        report=to_stderr,
    )
    print(formatted(found.table(), arguments.format))
    if arguments.format != "csv":
        size = f"{found.image_size}x{found.image_size}"
        where = conditions(rounds=arguments.rounds)
        print(f"\n{found.network}, {size}, batch {found.batch_size}; {describe(where)}")
    return 0
