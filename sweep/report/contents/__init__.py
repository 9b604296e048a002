"""The contents of a report's sections, as data."""
