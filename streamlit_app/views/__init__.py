"""The app's pages, one a module; Streamlit runs the module as a script."""
