"""What runs: the campaign as Prefect flows that read like a table of contents."""
