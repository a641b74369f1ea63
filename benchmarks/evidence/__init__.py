"""Evidence: what the filter, the context, the guidance and the mixing are worth (docs/results.md)."""
