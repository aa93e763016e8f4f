"""Builds the wheel from a fresh clone, compares its names with the folders, installs and imports it."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("components", "graph", "pipelines", "flows")
IMPORT = f"""
import importlib, sys
for name in {FOLDERS}:
    importlib.import_module("ragloom." + name)
print(sys.modules["ragloom"].__file__)
"""


def tracked(clone: Path) -> set[str]:
    """The names that the wheel has to hold: every tracked file of the library, under its place in the package."""
    listing = subprocess.check_output(["git", "-C", str(clone), "ls-files", "src/ragloom", *FOLDERS], text=True)
    files = {name for name in listing.splitlines() if not (clone / name).is_symlink()}
    return {"ragloom/" + name.removeprefix("src/ragloom/") for name in files}


def packed(wheel: Path) -> set[str]:
    """The names in the wheel, without its metadata; fails if one stands there twice."""
    with ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    if len(names) != len(set(names)):
        sys.exit("the wheel holds a file twice")
    return set(names)


def check_import(wheel: Path, home: Path) -> None:
    """Install the wheel without its dependencies and import its packages from there."""
    venv.create(home)
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    found = subprocess.check_output([python, "-I", "-c", IMPORT], text=True, cwd=home).strip()
    if not Path(found).is_relative_to(home):
        sys.exit(f"ragloom was imported from {found}, not from the wheel")


def main() -> None:
    """Compare, import, and say what differs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        clone = folder / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(clone)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        wheel = next(folder.glob("*.whl"))
        expected, found = tracked(clone), packed(wheel)
        for complaint, names in (("missing from", expected - found), ("not expected in", found - expected)):
            if names:
                sys.exit(f"{complaint} the wheel: {', '.join(sorted(names))}")
        check_import(wheel, folder / "home")
        print(f"{wheel.name}: {len(found)} files, as in the folders; imports from its own environment")


if __name__ == "__main__":
    main()
