"""Handwritten digit recognition: image bytes in, digits with honest confidence out.

    from digits import Classifier, bundle

    classifier = Classifier(bundle.load())
    result = classifier.classify(open("photo.jpg", "rb").read())
    print(result.text, result.needs_review)

This package knows NumPy, Pillow and LiteRT; it knows no cloud, no TensorFlow and no web.
"""

from digits.classifier import Classifier
from digits.results import Result

__all__ = ["Classifier", "Result"]
