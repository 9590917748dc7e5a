"""What others see of what was built: folders shaped like Hub repositories, and their cards."""
