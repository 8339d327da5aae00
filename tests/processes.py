"""Programs that need a process of their own, as for another backend."""

import os
import subprocess
import sys


def python(program: str, *arguments: str, **environment: str) -> str:
    """Runs a program to its end and returns what it printed; its errors are in the assertion."""
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
