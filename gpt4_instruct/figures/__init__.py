"""Every picture, drawn from what a run has saved: as PNG, as SVG, and in one page that needs nothing else."""
