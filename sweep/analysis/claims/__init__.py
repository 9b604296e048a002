"""Claims settled by experiment: trials of a paired design -> verdicts with their evidence.

`verdict.judge` is the way in; the others are its parts: `responses` (one number a training), `pairs` (one effect a
block), `effects`, `edges`, `bounded`, `paired_shares`, `bounded_means` and `mixed_logistic` (estimate and interval),
`blind` (what pairs cannot show), `sequential` (looks), `power`.
"""
