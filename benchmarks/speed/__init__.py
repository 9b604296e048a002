"""What the tool costs: a training step, the monitor, a report."""
