"""Handwritten digit recognition: image bytes in, digits with honest confidence out.

    from digits import Classifier, bundle

    classifier = Classifier(bundle.load())
    result = classifier.classify(open("photo.jpg", "rb").read())
    print(result.text, result.needs_review)

This package knows NumPy, Pillow and LiteRT; it knows no cloud, no TensorFlow and no web.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digits.classifier import Classifier
    from digits.results import Result

__all__ = ["Classifier", "Result"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and not before: `digits --help` needs no network."""
    if name == "Classifier":
        from digits.classifier import Classifier  # noqa: PLC0415

        return Classifier
    if name == "Result":
        from digits.results import Result  # noqa: PLC0415

        return Result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
