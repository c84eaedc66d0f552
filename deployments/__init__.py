"""Declarations of the service, installed beside the flows; `flows.deploying` applies them."""
