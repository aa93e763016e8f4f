"""The readable text of an HTML page.

Not llama_index's HTMLTagReader: that takes in scripts and comments, and runs the words of neighbouring blocks together.
"""

from __future__ import annotations

from html.parser import HTMLParser

_UNREAD = {"noscript", "script", "style", "template"}
_INLINE = {
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img", "ins", "kbd",
    "label", "mark", "q", "rp", "rt", "ruby", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "tt", "u",
    "var", "wbr",
}  # fmt: skip


def read_html(page: str) -> tuple[str, str]:
    """Title and text: a paragraph for each block, single spaces, and nothing that is not meant to be read."""
    parser = _Text()
    parser.feed(page)
    parser.close()
    paragraphs = ("".join(paragraph).split() for paragraph in parser.paragraphs)
    return " ".join("".join(parser.title).split()), "\n\n".join(" ".join(words) for words in paragraphs if words)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.paragraphs: list[list[str]] = [[]]
        self._in_title = False
        self._unread: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self._in_title = not self.title
        elif tag in _UNREAD:
            self._unread.append(tag)
        elif tag not in _INLINE and not self._unread:
            self.paragraphs.append([])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _UNREAD:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag in self._unread:
            del self._unread[self._unread.index(tag) :]
        elif tag not in _INLINE and not self._unread:
            self.paragraphs.append([])

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._unread:
            self.paragraphs[-1].append(data)
