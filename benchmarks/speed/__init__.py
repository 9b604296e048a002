"""What the tool costs: a study beside its trainings, a step, records, the monitor, thousands of trials, a report."""
