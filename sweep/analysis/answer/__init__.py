"""What to use and what to avoid: the recommendation, its safety, its result, the recipe."""
