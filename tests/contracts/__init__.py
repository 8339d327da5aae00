"""What users hold, frozen as data: whoever moves or rewrites the package must not change it unawares.

The tests reach the package as users do: `import keras_roots`, its documented sub-packages, the command
line, examples/, and files on disk. What was true when a file of `files/` was made is in that file, and
a test that finds something else shows the difference and says how to make the file anew, which is
right only where the change is meant:

    python -m tests.contracts.api            the public names and signatures
    python -m tests.contracts.command_line   commands, their options, the flags of examples/
    python -m tests.contracts.networks       layers, shapes and sizes of the networks of the registry
    python -m tests.contracts.make_files     files as users have saved them; made once, see there
"""
