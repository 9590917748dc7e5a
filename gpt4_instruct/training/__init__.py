"""Fine-tuning on the stock Transformers Trainer: tokens, batches, recipes; supervised tuning and reward models."""
