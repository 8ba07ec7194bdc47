"""What a build takes of the machine's memory, and whether there is as much."""

from __future__ import annotations

import math

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.system.machine import available_memory

# All processes of int8 builds of 124, 355 and 774 million parameters together, with the verification and without: see
# docs/PERFORMANCE.md. A fixed part, and bytes a parameter; the pages of mapped files count.
_VERIFIED = 1.4e9, 2.45
_CONVERTED = 1.68e9, 0.1


def needed_memory(architecture: GPT2Architecture, verify: bool) -> float:
    """Bytes that the processes of a build hold at most, all together."""
    fixed, each = _VERIFIED if verify else _CONVERTED
    return fixed + each * sum(map(math.prod, architecture.tensor_shapes().values()))


def memory_remark(architecture: GPT2Architecture, verify: bool) -> str:
    """A sentence if the machine has less memory than a build takes; else nothing."""
    needed, available = needed_memory(architecture, verify), available_memory()
    if needed <= available:
        return ""
    return (
        f"this build takes up to {needed / 1e9:.1f} GB of memory, and {available / 1e9:.1f} GB are free: it may become "
        "slow or be ended by the system; close other programs"
    )
