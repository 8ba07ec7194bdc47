"""The regexes of an adapter's config, matched as peft 0.21.2 matches them, within a limit of processor time.

Python's `re` cannot be told to stop, and a pattern such as (.*.*.*)*x takes longer than anyone waits. So whatever can
backtrack is matched in a process of its own: this file, run as a script, which needs the standard library only.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Iterable, Sequence

# A pattern's purpose -> re's function, and what peft puts before and after it.
PURPOSES = {
    "targets": ("fullmatch", "", ""),  # tuners_utils.match_target_against_key
    "layers": ("match", r"(?:^|.*?\.)", r"\.(?P<idx>\d+)\."),  # tuners_utils.check_target_module_exists
    "saved": ("match", r"(^|.*\.)", r"($|\..*)"),  # the same, modules_to_save
    "module": ("match", r"(.*\.)?(", ")$"),  # other.get_pattern_key
}
ANY_LAYERS = "[^.]*"

# A sound config is matched in milliseconds. Processor time, so that a busy machine refuses nothing.
_SECONDS, _MEMORY = 1, 1 << 30
_LONGEST = 10_000
_FEW = 20_000  # matches: a hundredth of a second
_PLAIN = re.compile(r"[\w.\\-]*|\[\^\.\]\*")  # nothing, or little, to choose from
_NO_REGEX = 3  # exit code

Wanted = tuple[str, str]  # purpose and pattern
Matched = dict[Wanted, dict[str, str | None]]


def match_patterns(wanted: Iterable[Wanted], names: Sequence[str]) -> Matched:
    """For each pattern the names that it matches; for "layers", each with the number of its layer.

    Raises ValueError, with a reason that names the pattern, for what is no regex or does not end.
    """
    wanted = list(dict.fromkeys(wanted))
    if long := next((pattern for _, pattern in wanted if len(pattern) > _LONGEST), None):
        raise ValueError(f"a pattern of {len(long):,} characters, where {_LONGEST:,} are the limit")
    if len(wanted) * len(names) < _FEW and all(_PLAIN.fullmatch(pattern) for _, pattern in wanted):
        lines = [_matches(*key, names) for key in wanted]
    else:
        lines = _match_apart(wanted, names)
    return {key: dict(line) for key, line in zip(wanted, lines)}


def _matches(purpose: str, pattern: str, names: Sequence[str]) -> list[tuple[str, str | None]]:
    method, before, after = PURPOSES[purpose]
    try:
        expression = re.compile(before + pattern + after)
    except (re.error, RecursionError, OverflowError, MemoryError) as error:
        raise ValueError(f"{pattern[:80]!r}, which is no regex ({str(error)[:80] or type(error).__name__})") from None
    matches = ((name, getattr(expression, method)(name)) for name in names)
    return [(name, match.groupdict().get("idx")) for name, match in matches if match]


def _match_apart(wanted: list[Wanted], names: Sequence[str]) -> list[list[tuple[str, str | None]]]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", __file__], input=json.dumps([wanted, names]), capture_output=True, text=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if len(lines) == len(wanted):
        return lines
    if done.returncode == _NO_REGEX:
        raise ValueError(done.stderr.strip())
    raise ValueError(
        f"{wanted[len(lines)][1][:80]!r}, a regex that takes more than {_SECONDS} s to match against the names of "
        f"{len(names)} modules"
    )


def _main() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    wanted, names = json.load(sys.stdin)
    for key in wanted:
        try:
            print(json.dumps(_matches(*key, names)), flush=True)
        except ValueError as error:
            print(error, file=sys.stderr)
            sys.exit(_NO_REGEX)


if __name__ == "__main__":
    _main()
