"""What a round hands out: the hybrid screen (AnnData, CSV) and the report for people."""
