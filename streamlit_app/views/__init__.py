"""The app's pages, one module each; Streamlit runs the module as a script."""
