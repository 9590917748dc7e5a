"""What a data set looks like: its verbs and their objects, its lengths, its scores."""
