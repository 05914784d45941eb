"""Handwritten digit recognition: image bytes in, digits with calibrated confidence out.

    from digits import Classifier, bundle

    classifier = Classifier(bundle.load())
    result = classifier.classify("photo.jpg")
    print(result.text, result.needs_review)

Recognition needs NumPy, Pillow and LiteRT only: no cloud service, TensorFlow or web framework.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digits.classifier import Classifier
    from digits.registry import bundle
    from digits.results import Result

__all__ = ["Classifier", "Result", "bundle"]


def __getattr__(name: str) -> Any:
    """Import the public names on first access: `digits --help` should not wait for LiteRT."""
    if name == "Classifier":
        return _classifier()
    if name == "bundle":
        from digits.registry import bundle  # noqa: PLC0415

        return bundle
    if name == "Result":
        from digits.results import Result  # noqa: PLC0415

        return Result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _classifier() -> Any:
    """Import the class. Raises `ModelUnavailable` without LiteRT, which some systems lack."""
    try:
        from digits.classifier import Classifier  # noqa: PLC0415
    except ImportError as error:
        if "ai_edge_litert" not in f"{error.name} {error.path}":
            raise
        from digits.errors import ModelUnavailable  # noqa: PLC0415

        raise ModelUnavailable(
            f"LiteRT, which runs the model, cannot be loaded ({error}). Install ai-edge-litert,"
            " which has packages for Linux with glibc, macOS on Apple silicon and Windows on"
            " x86-64. On an Intel Mac or Alpine, use a Debian container or the HTTP API."
        ) from error
    return Classifier
