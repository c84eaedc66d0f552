"""The checkpoint store: content-addressed, typed, verified. The only room that talks to object storage."""
