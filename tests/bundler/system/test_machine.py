"""What is said of the machine, held against Python's own view of it."""

import mmap
import os
import resource

import numpy as np

from bundler.system.machine import (
    available_cores,
    held_memory,
    mapped_memory,
    peak_memory,
    read_bandwidth,
    this_machine,
)


def test_this_machine():
    machine = this_machine()
    assert machine.cpu.strip() and machine.system.startswith("Linux")
    assert machine.cores == available_cores() <= os.cpu_count()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0.9 * pages < machine.memory < 1.1 * pages and machine.busy >= 0


def test_memory_that_was_given_back_stays_in_the_peak():
    before = held_memory()
    held = np.ones(64 << 20, np.uint8)
    assert held.nbytes and held_memory() > before + (60 << 20)
    del held
    assert peak_memory() > before + (60 << 20) > held_memory()
    # getrusage counts alike, but begins with the peak of the process that forked this one.
    assert peak_memory() <= 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + (1 << 20)


def test_pages_of_a_file_are_mapped_memory(tmp_path):
    (tmp_path / "file").write_bytes(bytes(32 << 20))
    before = mapped_memory()
    with open(tmp_path / "file", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert not any(data[:: mmap.PAGESIZE])
        assert before + (30 << 20) < mapped_memory() <= held_memory()
    assert mapped_memory() < before + (2 << 20)


def test_memory_is_read_at_a_speed_that_memory_has():
    assert 1e8 < read_bandwidth(1) < 1e12
