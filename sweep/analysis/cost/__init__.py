"""What a study cost, what stopping early saved, and how often it was wrong."""
