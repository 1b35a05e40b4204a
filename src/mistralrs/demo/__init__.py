"""The small chat model that comes with the package."""

from pathlib import Path


def model_path() -> Path:
    """Return the folder of the bundled demo model."""
    return Path(__file__).resolve().parent / "model"
