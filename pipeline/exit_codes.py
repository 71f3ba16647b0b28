"""Exit codes of all commands."""

FAILED = 1
WRONG_USAGE = 2
# What shells report for a command that Ctrl-C ended: 128 + SIGINT.
INTERRUPTED = 130
