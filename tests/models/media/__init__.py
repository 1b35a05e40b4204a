"""Models that read images: one file per family, each with CASES."""
