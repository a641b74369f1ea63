"""The miniature world: rendered birds, and small but real models that were trained on them.

Owns the species, the renderer, the dataset of rendered pictures, and the oracle that classifies them. A run uses its
Parquet files and its model folders like any other dataset and models.
"""
