"""Says what the machine lacks before an installation starts; standard library only."""

import shutil
import sys

PACKAGES = {
    "g++": "DeepSpeed compiles one communication op (Debian: apt-get install g++)",
    "git": "to work on the project (Debian: apt-get install git)",
}


def main() -> int:
    """Exit status 2 when something is missing."""
    missing = [f"{name}: {why}" for name, why in PACKAGES.items() if shutil.which(name) is None]
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        missing.append(
            f"Python 3.11 or 3.12: this is {sys.version.split()[0]} (make PYTHON=python3.12 ... takes another)"
        )
    for line in missing:
        print(f"missing: {line}", file=sys.stderr)
    return 2 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
