"""How often the verdicts on claims err, and what their intervals cost."""
