"""A model out of a bundle, with a cache of one length: for the runner, and for engines that know no placeholder."""

from __future__ import annotations

from pathlib import Path

from bundler.system.file_section import FileSection
from bundler.tflite.model import open_model
from bundler.tflite.placeholder_context import set_context
from bundler.tflite.signatures import llm_shape


def write_fixed(section: FileSection, output: Path) -> None:
    """Stream a TFLite model into a file. In the place of a placeholder, its cache gets the length of its context.

    Raises BundleError for what is no TFLite model.
    """
    section.copy_to(output)
    shape = llm_shape(open_model(section))
    if shape.placeholder is not None and shape.context < shape.placeholder:
        set_context(output, shape.context, output, shape.placeholder)
