"""Says what the machine lacks before an installation starts; standard library only."""

import importlib.util
import sys


def main() -> int:
    """Exit status 2 when something is missing."""
    missing = []
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        missing.append("the venv module (Debian: apt-get install python3-venv)")
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        missing.append(
            f"Python 3.11 or 3.12: this is {sys.version.split()[0]} (make PYTHON=python3.12 ... takes another)"
        )
    for line in missing:
        print(f"missing: {line}", file=sys.stderr)
    return 2 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
