"""What users hold, frozen as data, against change that nobody means.

The tests reach the package as users do: `import keras_roots`, its documented sub-packages, the
command line, examples/, and files on disk. What was true when a file of `files/` was made is in
that file, and a test that finds something else shows the difference and says how to make the file
anew, which is right only where the change is meant:

    python -m tests.contracts.api            the public names and signatures
    python -m tests.contracts.command_line   commands, their options, the flags of examples/
    python -m tests.contracts.networks       layers, shapes and sizes of the registry's networks
    python -m tests.contracts.folders        what commands and runs leave on disk
    python -m tests.contracts.make_files     files as users have saved them; made once, see there

Names of files that other tests pin are not looked at twice where that takes a run of its own: of
sweeps (tests/test_sweep_runs.py), and of work directories while they are begun, interrupted and
gone on with (tests/test_training_loop.py, tests/test_kill_and_resume.py).
"""
