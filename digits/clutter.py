"""Files that a system puts beside those of a person, which are nobody's pictures.

macOS writes the metadata of `x.png` to `._x.png` and zips it into `__MACOSX`; Windows, NAS boxes
and office programs have their own. Some end as pictures do.
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
    """Whether a relative path, with slashes or backslashes, names such a file or folder.

    Every name that starts with a dot counts: that is how files are hidden on all but Windows.
    """
    parts = path.replace("\\", "/").split("/")
    return any(
        part.lower() in _NAMES
        or part.startswith("~$")
        or (part.startswith(".") and part.strip("."))
        for part in parts
    )
