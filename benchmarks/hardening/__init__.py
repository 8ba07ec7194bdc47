"""The parts of benchmarks/hardening.py: each attacks the command line from outside and records what it did wrong."""
