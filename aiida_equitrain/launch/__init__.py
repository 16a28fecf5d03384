"""Start jobs and follow them: load what was typed, run it here or with the daemon, show progress."""
