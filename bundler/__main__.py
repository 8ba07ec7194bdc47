"""`python -m bundler` is `task-bundler`."""

from bundler.cli import main

main()
