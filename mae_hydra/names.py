"""Names that come from files (classes, pictures, folders), made fit to be shown.

A class name may hold a line break, a terminal's escape sequence, or letters that turn the text behind them around; a
file name may be no text at all. What is shown anywhere has been through `clean`.
"""

import os
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 120  # letters of a class's name
_ESCAPES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-_]?")  # ECMA-48
_JOINERS = "\u200c\u200d"  # unseen, but some scripts are not written without them


def clean(text: object) -> str:
    """`text` as one line: `harmless`, and white space as single blanks."""
    return " ".join(harmless(text, keep="").split())


def harmless(text: object, keep: str = "\n\t") -> str:
    """`text` without escape sequences, turns of direction and other unseen letters; controls but `keep` are blanks.

    Bytes of a file name that are no UTF-8 are shown as \\xff.
    """
    return "".join(_shown(letter, keep) for letter in _ESCAPES.sub("", str(text)))


def encodable(text: str) -> str:
    """`text` with halves of letters, which JSON and file names may hold and no output takes, shown as in `harmless`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(_shown(letter, letter) if unicodedata.category(letter) == "Cs" else letter for letter in text)
    return text


def _shown(letter: str, keep: str) -> str:
    category = "" if letter.isascii() and letter.isprintable() else unicodedata.category(letter)
    if category in ("Cc", "Zl", "Zp"):  # controls, line and paragraph separators
        return letter if letter in keep else " "
    if category == "Cf":
        return letter if letter in _JOINERS else ""
    if category == "Cs":  # Python keeps bytes that are no text as lone surrogates, which no output takes
        return f"\\x{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else "\N{REPLACEMENT CHARACTER}"
    return letter


def class_names(names: Iterable[object]) -> tuple[str, ...]:
    """Names of classes as they are shown everywhere: clean, none empty, none endless, and no two alike."""
    found: list[str] = []
    taken: set[str] = set()
    for number, name in enumerate(names):
        wanted = shortened(clean(name)) or f"class {number}"
        unique, count = wanted, 1
        while unique in taken:
            count += 1
            unique = f"{wanted} ({count})"
        taken.add(unique)
        found.append(unique)
    return tuple(found)


def names_or_numbers(names: object, count: int) -> tuple[str, ...]:
    """`names` where they are a list of `count` names, else `count` numbers."""
    if isinstance(names, list) and len(names) == count:
        return tuple(map(str, names))
    return tuple(f"class {number}" for number in range(count))


def shortened(text: str, most: int = LONGEST) -> str:
    """At most so many letters, with an ellipsis where some are left out of the middle."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[: most - 1 - half]}…{text[-half:]}"


def file_part(name: str, most: int = 240) -> str:
    """A name for a part of a path that every file system takes: of at most so many bytes."""
    while len(os.fsencode(name)) > most:
        name = shortened(name, len(name) - 1 - (len(os.fsencode(name)) - most) // 4)
    return name
