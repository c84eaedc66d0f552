"""What each node of the campaign's DAG does, one room a stage, in the order the data flows through them."""
