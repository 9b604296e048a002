"""The rows behind the figures."""
