"""What changed between two studies: stable region, edges, best result, outcomes, cost, claims."""
