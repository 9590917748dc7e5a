"""How good a model is: its answers to questions, ranked by a reward model."""
