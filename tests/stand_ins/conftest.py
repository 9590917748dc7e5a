"""Stand-ins are no tests: each is imported by the name of what it stands for, where a test says so."""

collect_ignore_glob = ["*"]
