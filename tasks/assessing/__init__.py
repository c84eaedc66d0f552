"""Is active selection worth it here? Evidence, a verdict, and how much of the next batch is drawn at random."""
