"""Says what is missing before the virtual environment is set up.

Keep to what old versions of Python can read too, or it cannot tell them that they are too old.
"""

import importlib.util
import sys
from pathlib import Path


def problem():
    """The first thing that would make the set-up fail, or None."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        version = ".".join(str(part) for part in sys.version_info[:3])
        return f"ragloom needs Python 3.11, 3.12 or 3.13; {sys.executable} is {version}. Try PYTHON=python3.12"
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        return f"{sys.executable} cannot make virtual environments. Debian and Ubuntu: apt install python3-venv"
    for folder in ("components", "graph", "pipelines", "flows"):
        if not Path("src", "ragloom", folder).is_dir():
            return (
                f"src/ragloom/{folder} is no link to {folder}/: this clone was made without symbolic links. On Windows,"
                " switch on Developer Mode, then: git config core.symlinks true && git checkout -- src/ragloom"
            )
    return None


if __name__ == "__main__":
    sys.exit(problem())
