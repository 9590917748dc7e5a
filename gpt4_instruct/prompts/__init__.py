"""Every prompt the package sends or trains on, and how the replies to them are read."""
