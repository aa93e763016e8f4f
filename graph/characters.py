"""Text of documents where it must not harm what is around it: on a terminal, in a page, in XML."""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"

# What XML 1.0 cannot hold in any form (section 2.2, Char). Those below the space have visible pictures.
_NOT_XML = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n\r"}
_NOT_XML |= dict.fromkeys([*range(0xD800, 0xE000), 0xFFFE, 0xFFFF], REPLACEMENT)

_NOT_XML_PATTERN = re.compile(f"[{re.escape(''.join(map(chr, _NOT_XML)))}]")
_SURROGATES = re.compile("[\ud800-\udfff]")

# Further what moves a terminal's cursor, or turns the direction of all the text behind it.
_NOT_VISIBLE = _NOT_XML | {0x7F: "\u2421"} | dict.fromkeys(range(0x80, 0xA0), REPLACEMENT)
_NOT_VISIBLE |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], REPLACEMENT)


def xml_text(text: str) -> str:
    """The text as XML can hold it: what it cannot hold is replaced visibly, and all ends of lines are line feeds.

    >>> xml_text("a\\x00b\\r\\n")
    'a\u2400b\\n'
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_NOT_XML)


def not_xml(text: str) -> int:
    """The number of characters that `xml_text` replaces by others, without those at the ends of lines."""
    return len(_NOT_XML_PATTERN.findall(text))


def utf8_text(text: str) -> str:
    """The text as UTF-8 can hold it: halves of characters (lone surrogates) are replaced visibly."""
    return _SURROGATES.sub(REPLACEMENT, text)


def surrogates(text: str) -> int:
    """The number of characters that `utf8_text` replaces."""
    return len(_SURROGATES.findall(text))


def visible(text: str) -> str:
    """The text with a visible sign for each character that would do something instead of being shown.

    Line feeds and tabs stay. Marks of direction stay, characters that override it do not.
    """
    return xml_text(text).translate(_NOT_VISIBLE)


def one_line(text: str, longest: int | None = None) -> str:
    """The text, visible, in one line, cut behind the last word that fits into `longest` characters.

    >>> one_line("The mill\\n was built in 1871", 15)
    'The mill was…'
    """
    line = visible(" ".join(text.split()))
    if longest is None or len(line) <= longest:
        return line
    cut = line[:longest]
    return (cut.rpartition(" ")[0] or cut[:-1]) + "…"
