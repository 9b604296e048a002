"""What changed between two studies: stable region, edges, losses and WER, best result, outcomes, cost, claims."""
