"""From plate files to labels and their noise: ingestion, quality, alignment, replicates, Σ_Y."""
