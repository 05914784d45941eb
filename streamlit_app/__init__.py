"""The app: upload pictures of handwritten digits, see the digits and their confidence.

A thin interface over `digits`, without AWS and without TensorFlow. Streamlit runs `app.py`.
"""
