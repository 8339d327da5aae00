"""Programs that need a process of their own, as for another backend."""

import os
import subprocess
import sys
from pathlib import Path


def python(program: str, *arguments: str, cwd: Path | None = None, **environment: str) -> str:
    """Runs a program to its end and returns what it printed; its errors are in the assertion."""
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
