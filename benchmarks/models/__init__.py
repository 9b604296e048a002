"""What the shipped models need to train reliably."""
