"""What can be wrong with a row: one check a file, found through the registry."""
