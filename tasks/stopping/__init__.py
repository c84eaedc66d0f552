"""Stopping: the audit's bound, its evidence, and the decision."""
