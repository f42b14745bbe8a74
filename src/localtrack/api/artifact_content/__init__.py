"""The bytes of artifacts that are made from objects (texts, dicts, figures, images, tables), laid out as in MLflow.

Each module imports the library of its objects (Matplotlib, Pillow, pandas, PyYAML) when it meets one, never before.
"""

from localtrack.api.artifact_content.figures import encode_figure
from localtrack.api.artifact_content.images import LOGGED_IMAGES_TAG, encode_images
from localtrack.api.artifact_content.tables import (
    LOGGED_ARTIFACTS_TAG,
    add_logged_table,
    encode_table,
    encode_table_files,
)
from localtrack.api.artifact_content.texts import encode_dict, encode_text

__all__ = [
    "LOGGED_ARTIFACTS_TAG",
    "LOGGED_IMAGES_TAG",
    "add_logged_table",
    "encode_dict",
    "encode_figure",
    "encode_images",
    "encode_table",
    "encode_table_files",
    "encode_text",
]
