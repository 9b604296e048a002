#!/usr/bin/env bash
# Gradient descent on a quadratic in awk: any program is swept that writes its losses to somewhere.
# Usage: descent.sh LR CURVATURE SEED STEPS
exec awk -v lr="$1" -v curvature="$2" -v seed="$3" -v steps="$4" 'BEGIN {
  srand(seed); flat = 1 + rand(); steep = 1 + rand()
  for (step = 1; step <= steps; step++) {
    flat -= lr * flat; steep -= lr * curvature * steep
    loss = 0.5 * (flat * flat + curvature * steep * steep) * (1 + 0.05 * rand())
    printf "step %d loss %.6g\n", step, loss
    fflush()
  }
  printf "final distance %.6g\n", sqrt(flat * flat + steep * steep)
}'
