"""Start-up time: the import of the library and the help of the command line, each in a fresh process.

Run from the root: ``python -m tests.bench.import_time``.
"""

import subprocess
import sys
import time
from statistics import median

TURNS = 7
IMPORT = "import time; start = time.perf_counter(); import mascing; print(time.perf_counter() - start)"


def main() -> None:
    """Print the median and the minimum of both."""
    imports = [float(_output("-c", IMPORT)) for _ in range(TURNS)]
    print(f"import mascing: {_shown(imports)}")
    print(f"mascing --help, the interpreter's own start included: {_shown([_help_seconds() for _ in range(TURNS)])}")


def _help_seconds() -> float:
    start = time.perf_counter()
    _output("-m", "mascing", "--help")
    return time.perf_counter() - start


def _output(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout


def _shown(seconds: list[float]) -> str:
    return f"{median(seconds):.3f} s (quickest {min(seconds):.3f} s)"


if __name__ == "__main__":
    main()
