"""The command line: one file a group of commands; `app` brings them together."""
