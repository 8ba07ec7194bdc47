"""GPT-2 checkpoint -> TFLite -> MediaPipe `.task` and LiteRT-LM `.litertlm`, verified on the host.

These names are the Python interface (docs/DESIGN.md). Each is imported when it is first used: `import bundler` takes no
PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bundler.doctor.examine import examine
    from bundler.engines.litertlm import Sampling, open_engine
    from bundler.errors import BundleError, OptionError, VerificationError
    from bundler.pipeline.build import build
    from bundler.pipeline.plan import BuildOptions
    from bundler.pipeline.repack import repack
    from bundler.verification.verify import VerifyOptions, verify_bundle

_MODULES = {
    "BuildOptions": "bundler.pipeline.plan",
    "BundleError": "bundler.errors",
    "OptionError": "bundler.errors",
    "Sampling": "bundler.engines.litertlm",
    "VerificationError": "bundler.errors",
    "VerifyOptions": "bundler.verification.verify",
    "build": "bundler.pipeline.build",
    "examine": "bundler.doctor.examine",
    "open_engine": "bundler.engines.litertlm",
    "repack": "bundler.pipeline.repack",
    "verify_bundle": "bundler.verification.verify",
}
__all__ = [
    "BuildOptions",
    "BundleError",
    "OptionError",
    "Sampling",
    "VerificationError",
    "VerifyOptions",
    "build",
    "examine",
    "open_engine",
    "repack",
    "verify_bundle",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__]
