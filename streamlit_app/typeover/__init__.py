"""A table whose answers can be typed over: `typeover.js` in the browser, the rows' places here.

Its looks are part of the app's style sheet.
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
        The table, with fields whose names are the rows' places. Nothing in it may be a stranger's
        that is not escaped.
    truths
        What stands in a field in place of its own value, by the row's place; its lines, as those of
        the value, are separated by blanks.
    on_written
        Is told a row's place and what was written there, before the script runs again.
    """

    def changed() -> None:
        if (told := decoded(st.session_state[key].get("written"))) is not None:
            on_written(*told)

    # Made known here, to the server that runs now: on import there may be none, or another one.
    table = st.components.v2.component("typeover", html=_HTML, js=_SCRIPT, isolate_styles=False)
    data = {
        "html": html,
        "truths": {str(place): " ".join(truth.split()) for place, truth in truths.items()},
        "marks": MARKS,
    }
    table(key=key, data=data, on_written_change=changed)


def decoded(told: object) -> tuple[int, str] | None:
    """A row's place and what was written there; None for whatever else a browser may have sent."""
    match told:
        case {"place": int(place), "written": str(written)}:
            return place, written
    return None
