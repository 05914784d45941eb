"""The app: upload pictures of handwritten digits, see what is read in them and how surely.

A thin interface over `digits`, without AWS and without TensorFlow. `app.py` is what Streamlit runs.
"""
