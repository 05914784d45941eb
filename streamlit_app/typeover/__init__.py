"""A table with editable answers: `typeover.js` in the browser returns row and new text.

The styles are in the app's style sheet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import streamlit as st

from digits.labels.corrections import MARKS

_HTML = '<div class="rows"></div>'
_SCRIPT = Path(__file__).with_name("typeover.js").read_text(encoding="utf-8")


def shown(
    html: str, truths: Mapping[int, str], key: str, on_written: Callable[[int, str], None]
) -> None:
    """Show a table.

    Parameters
    ----------
    html
        The table, with inputs whose names are the rows' places. Untrusted text must be escaped.
    truths
        The corrections that replace an input's value, by the row's place; blanks separate lines,
        as in the value.
    on_written
        Called with a row's place and the new text, before the script runs again.
    """

    def changed() -> None:
        if (told := decoded(st.session_state[key].get("written"))) is not None:
            on_written(*told)

    # Registered here, with the running server: on import there may be none, or another one.
    table = st.components.v2.component("typeover", html=_HTML, js=_SCRIPT, isolate_styles=False)
    data = {
        "html": html,
        "truths": {str(place): " ".join(truth.split()) for place, truth in truths.items()},
        "marks": MARKS,
    }
    table(key=key, data=data, on_written_change=changed)


def decoded(told: object) -> tuple[int, str] | None:
    """Parse a row's place and new text from the browser's message; None for anything else."""
    match told:
        case {"place": int(place), "written": str(written)}:
            return place, written
    return None
