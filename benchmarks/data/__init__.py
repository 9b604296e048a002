"""What the reading of data decides."""
