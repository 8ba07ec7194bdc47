"""What every part is given: where to work, what starts the commands, how much to try, and which cases."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterable, TypeVar

from launcher import Ended, Launcher
from tally import Tally
from writing import Inputs, make_inputs

Item = TypeVar("Item")


@dataclass
class Attack:
    """`moments`: kills of each command, signal and state of its output. `case`: part of the names of the cases wanted;
    empty for all.
    """

    work: Path
    launchers: list[Launcher]
    moments: int = 20
    case: str = ""
    _inputs: Inputs | None = field(default=None, repr=False)

    def wants(self, case: str) -> bool:
        """Whether the case is to be tried, or one whose name begins so."""
        return self.case in case or self.case.startswith(case)

    def inputs(self) -> Inputs:
        """The checkpoint, adapters, texts and builds of all parts, made when they are first asked for."""
        if self._inputs is None:
            folder = self.work / "inputs"
            self._inputs = Inputs(folder) if folder.exists() else make_inputs(folder, self.launchers[0])
        return self._inputs

    def each(self, items: Iterable[Item], function: Callable[[Item, Launcher], None]) -> None:
        """Call `function` for every item, on as many threads as there are launchers. The first exception is raised at
        the end.
        """
        waiting, errors = queue.SimpleQueue(), []
        for item in items:
            waiting.put(item)

        def work(launcher: Launcher) -> None:
            while not errors:
                try:
                    item = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    function(item, launcher)
                except BaseException as error:
                    errors.append(error)

        threads = [threading.Thread(target=work, args=(launcher,)) for launcher in self.launchers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]


def judge_end(tally: Tally, case: str, ended: Ended) -> None:
    """What no command may do, whatever is done to it: show a traceback, crash, hang, or leave a process behind."""
    if ended.traceback or ended.crashed:
        lines = [line for line in ended.stderr.splitlines() if line.strip()]
        # Of a traceback the part that names the place and the error, wherever in the output it stands.
        begin = next((number for number, line in enumerate(lines) if line.startswith("Traceback")), -1)
        tally.fail("tracebacks", case, f"ended with {ended.code}: {' | '.join(lines[begin:][:30])}")
    if ended.timed_out:
        tally.fail("wrong verdicts", case, f"hangs: no end after {ended.seconds:.0f} s")
    if ended.survived:
        tally.fail("left behind", case, "a process of it was still running seconds later")
