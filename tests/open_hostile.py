"""Opens the hostile checkpoints named on stdin as `build --dry-run` does, and prints a line of JSON for each.

    python tests/open_hostile.py FOLDER < names

A process of its own: memory is limited, and what hangs is ended by the alarm, and the process with it.
"""

import json
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

SECONDS, MEGABYTES = 60, 2000


def main() -> None:
    from hostile_checkpoints import CODE_RUN, write_hostile

    from bundler.checkpoints.checkpoint import open_checkpoint
    from bundler.errors import BundleError
    from tokenizer_tools.errors import TokenizerError
    from tokenizer_tools.vocabulary_files import read_vocabulary

    names = [json.loads(line) for line in sys.stdin]
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") * 1024 + (MEGABYTES << 20), hard))
    for number, name in enumerate(names):
        folder = Path(sys.argv[1]) / str(number)
        source = write_hostile(name, folder)
        print(json.dumps({"name": name}), flush=True)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before, start = status("VmRSS"), time.process_time()
        signal.alarm(SECONDS)
        try:
            checkpoint = open_checkpoint(source)
            checkpoint.check_finite()
            vocabulary = read_vocabulary(checkpoint.folder)
            checkpoint.check_vocabulary(len(vocabulary))
            outcome = {"error": None}
        except (BundleError, TokenizerError) as error:
            outcome = {"error": str(error)}
        except BaseException:
            outcome = {"error": "", "traceback": traceback.format_exc()}
        signal.alarm(0)
        print(
            json.dumps(
                {
                    "name": name,
                    **outcome,
                    "code_run": (folder / CODE_RUN).exists(),
                    "seconds": time.process_time() - start,
                    "megabytes": (status("VmHWM") - before) / 1024,
                }
            ),
            flush=True,
        )
        shutil.rmtree(folder, ignore_errors=True)


def status(field: str) -> int:
    """A number of kB from /proc/self/status."""
    return int(re.search(rf"{field}:\s*(\d+)", Path("/proc/self/status").read_text())[1])


if __name__ == "__main__":
    main()
