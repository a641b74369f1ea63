"""The embedded world: rendered birds, and small but real models that were trained on them.

Owns the species, the renderer, the dataset made of its pictures, and the oracle that knows the truth about them.
Does not know the main job: that sees a folder of Parquet files and folders of models like any other.
"""
