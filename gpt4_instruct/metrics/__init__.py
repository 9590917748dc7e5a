"""What answers are worth, as numbers with their uncertainty."""
