"""Who answers: one teacher a file, found through the registry."""
