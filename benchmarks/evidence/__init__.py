"""Evidence: the effect of the filter, the context, the guidance and the mixing on accuracy (docs/results.md)."""
