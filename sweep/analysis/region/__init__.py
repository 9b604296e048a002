"""Where training is stable: the model of the boundary, its evidence, its edges, what moves them."""
