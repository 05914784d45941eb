"""Handwritten digit recognition: image bytes in, digits with honest confidence out.

    from digits import Classifier, bundle

    classifier = Classifier(bundle.load())
    result = classifier.classify("photo.jpg")
    print(result.text, result.needs_review)

This package knows NumPy, Pillow and LiteRT; it knows no cloud, no TensorFlow and no web.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digits.classifier import Classifier
    from digits.registry import bundle
    from digits.results import Result

__all__ = ["Classifier", "Result", "bundle"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and not before: `digits --help` needs no network."""
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
    """The class. Raises `ModelUnavailable` where LiteRT is missing: some systems have no wheel."""
    try:
        from digits.classifier import Classifier  # noqa: PLC0415
    except ImportError as error:
        if "ai_edge_litert" not in f"{error.name} {error.path}":
            raise
        from digits.errors import ModelUnavailable  # noqa: PLC0415

        raise ModelUnavailable(
            f"LiteRT, which runs the model, cannot be loaded here ({error}). Install"
            " ai-edge-litert; it has packages for Linux with glibc, macOS on Apple silicon and"
            " Windows on x86-64. On an Intel Mac or Alpine, use a container of Debian, or the HTTP"
            " API."
        ) from error
    return Classifier
