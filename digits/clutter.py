"""Recognise files and folders that operating systems and programs create beside a user's files.

macOS writes the metadata of `x.png` to `._x.png` and adds it to archives in `__MACOSX`; Windows,
NAS devices and office programs create others. Some have an image's extension.
"""

from __future__ import annotations

_NAMES = frozenset(
    {
        "__macosx", "icon\r",  # Finder
        "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini",  # Explorer
        "$recycle.bin", "system volume information",
        "@eadir", "#recycle",  # Synology
    }
)  # fmt: skip


def is_clutter(path: str) -> bool:
    """Whether a relative path, with slashes or backslashes, has such a file or folder in it.

    Names that start with a dot count too: they are hidden on all systems except Windows.
    """
    parts = path.replace("\\", "/").split("/")
    return any(
        part.lower() in _NAMES
        or part.startswith("~$")
        or (part.startswith(".") and part.strip("."))
        for part in parts
    )
