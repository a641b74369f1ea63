"""Training on augmented datasets: mixing on the fly, the loop, and comparisons. Never imports diffusers."""
