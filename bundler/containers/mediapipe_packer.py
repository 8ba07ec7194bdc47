"""A `.task` file written by MediaPipe's own bundler, for comparison with ours."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from bundler.containers.llm_parameters import LlmParameters
from bundler.errors import BundleError
from bundler.system.temporary_folder import temporary_folder

VERSION = "0.10.35"  # the last release with mediapipe.tasks.python.genai.bundler
INSTALL = f"pip install mediapipe=={VERSION}"


def pack_with_mediapipe(path: Path, model: Path, tokenizer: Path, parameters: LlmParameters) -> None:
    """What `write_task` writes, made by MediaPipe: the whole model in memory, the present time in the ZIP.

    Raises BundleError if MediaPipe is missing or without its bundler, if it refuses the tokenizer or the parameters,
    or if the parameters hold something its bundler cannot write: token ids, a template of their own.
    """
    _check(parameters)
    try:
        from mediapipe.tasks.python.genai import bundler
    except (ImportError, OSError) as error:  # OSError: a native library it needs
        raise BundleError(
            f"MediaPipe's bundler cannot be imported ({error}); expected mediapipe {VERSION}, the last release that "
            f"has it; run `{INSTALL}`, or leave out `packer` mediapipe"
        ) from error
    path = Path(path)
    with temporary_folder("packing", path.parent) as folder:
        made = Path(folder) / "bundle.task"  # its bundler appends .task to any other name
        try:
            bundler.create_bundle(
                bundler.BundleConfig(
                    tflite_model=str(model),
                    tokenizer_model=str(tokenizer),
                    output_filename=str(made),
                    start_token=parameters.start_token,
                    stop_tokens=list(parameters.stop_tokens),
                    enable_bytes_to_unicode_mapping=parameters.bytes_to_unicode,
                    system_prompt=parameters.system_prompt or None,
                    **{
                        f"prompt_{part}_{role}": getattr(getattr(parameters, role), part) or None
                        for role in ("user", "model", "system")
                        for part in ("prefix", "suffix")
                    },
                )
            )
        except (ValueError, OSError) as error:
            raise BundleError(
                f"MediaPipe's bundler refuses: {error}; correct that, or leave out `packer` mediapipe"
            ) from error
        os.replace(made, path)


def _check(parameters: LlmParameters) -> None:
    parameters.encode()  # what no engine takes is refused here as it is by our own writer
    plain = replace(parameters, start_token_id=None, stop_token_ids=(), prompt_template=None, unknown=())
    if parameters.start_token is None or plain != parameters:
        raise BundleError(
            "MediaPipe's bundler writes a start token and stop tokens as text only, and no fields but its own; found "
            f"start token {parameters.start_token!r}, ids {parameters.start_token_id}, "
            f"{list(parameters.stop_token_ids)}; give the tokens as text, or leave out `packer` mediapipe"
        )
