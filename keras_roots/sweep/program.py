"""The command line of examples/sweep_*.py."""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from keras_roots.reporting import Table
from keras_roots.sweep.experiment import PAPER, Experiment, parsed_networks
from keras_roots.sweep.runner import Sweep, run
from keras_roots.training import program
from keras_roots.training.config import Config


def main(default: str, configs: Path, documentation: str, networks: Sequence[str] = PAPER) -> None:
    """Parses the command line, trains what is missing, prints the table, and exits.

    Args:
        default, configs, documentation: see `training.program.run`.
        networks: without --networks.
    """
    of_program = {"module_name": sys.argv[0]}  # So --help lists them.
    chosen = flags.DEFINE_list(
        "networks",
        list(networks),
        "what to train, with commas: dense, root-R, column-R, tree-R, degrees-8-4; or paper, for "
        "the paper's 13 of NIN",
        **of_program,
    )
    seeds = flags.DEFINE_integer(
        "seeds", 3, "train each from so many seeds: --first_seed and those after it", **of_program
    )
    first_seed = flags.DEFINE_integer("first_seed", 0, "see --seeds", **of_program)
    jobs = flags.DEFINE_integer(
        "jobs",
        1,
        "runs at once, each with its share of the CPU's cores: two runs on a core each get more "
        "done than one after the other on both",
        **of_program,
    )

    def act(config: Config, folder: str, *, dry_run: bool) -> None:
        if flags.FLAGS["root"].present or flags.FLAGS["seed"].present:
            raise ValueError("--root and --seed are for one run; give --networks and --seeds")
        if seeds.value < 1:
            raise ValueError(f"Expected --seeds of 1 or more. Received: {seeds.value}")
        names = parsed_networks(chosen.value)
        numbers = tuple(range(first_seed.value, first_seed.value + seeds.value))
        if dry_run:
            _plan(Sweep(Experiment(config, names, numbers), Path(folder).expanduser(), print))
            return
        found = run(config, names, numbers, folder, jobs=jobs.value, report=_print)
        if found:
            print(f"\n{(Path(folder).expanduser() / 'results.md').read_text(encoding='utf-8')}")

    program.command_line(default, configs, documentation, act)


def _plan(sweep: Sweep) -> None:
    """What there is to do."""
    waiting = [run.name for run in sweep.missing]
    rows = [
        {
            "network": network,
            "parameters": f"{sweep.prepared['networks'][network]['parameters']:,}",
            "MACs": f"{sweep.prepared['networks'][network]['macs']:,}",
            "runs": str(sum(run.network == network for run in sweep.experiment.runs)),
            "to do": str(sum(run.network == network for run in sweep.missing)),
        }
        for network in sweep.experiment.networks
    ]
    print(Table.of(rows).text())
    print(
        f"\n{len(waiting)} runs of {sweep.experiment.base.epochs} epochs on "
        f"{sweep.prepared['data_name']}, Keras on {sweep.prepared['backend']}. "
        "Nothing was trained (--dry_run)."
    )


def _print(line: str) -> None:
    print(line, flush=True)
