"""The app's entry: `streamlit run streamlit_app/app.py` from the repository's root."""

import sys
from pathlib import Path

import streamlit as st

ROOT = str(Path(__file__).parents[1])
# Community Cloud adds only this file's folder to the path; `digits` is beside that folder.
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from streamlit_app import memory  # noqa: E402  needs the path above
from streamlit_app.style import CSS  # noqa: E402

ICON = Path(__file__).with_name("icon.svg")

st.set_page_config(page_title="Handwritten digits", page_icon=ICON, layout="wide")
st.html(f"<style>{CSS}</style>")
# Streamlit drops a widget's state while its page is not shown, unless it is set again.
st.session_state.engine = st.session_state.get("engine", "app")
pages = [
    st.Page("views/recognise.py", title="Read digits", icon=":material/draw:", default=True),
    st.Page("views/batch.py", title="Many at once", icon=":material/grid_view:"),
    st.Page("views/model.py", title="The model", icon=":material/neurology:"),
]
page = st.navigation(pages, position="hidden")
# Streamlit hides its own navigation behind a button on phones.
with st.container(horizontal=True, key="pages"):
    for link in pages:
        st.page_link(link)
page.run()
memory.give_back()
