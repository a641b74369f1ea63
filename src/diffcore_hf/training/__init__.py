"""Training on augmented datasets: mixing while images are loaded, the training loop, and comparisons of trainings.

This package never imports diffusers.
"""
