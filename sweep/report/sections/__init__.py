"""The words of a report's sections."""
