"""Where instructions come from: the packaged seeds, files, the Hub."""
