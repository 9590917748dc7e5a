"""What is produced: one split a file, each an importable `datasets` builder, found through the registry."""
