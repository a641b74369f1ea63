"""The miniature world: rendered birds, and small but real models that were trained on them.

Owns the species, the renderer, the dataset of rendered pictures, and the oracle that classifies them. Does not import
the rest of the package: a run reads its Parquet files and its model folders like any others.
"""
