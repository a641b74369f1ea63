"""Mixing at training time, and the trainer. Knows datasets, torch and timm; never diffusers."""
