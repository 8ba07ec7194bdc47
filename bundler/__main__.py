"""`python -m bundler` is `task-bundler`."""

from bundler.commands.cli import main

main()
