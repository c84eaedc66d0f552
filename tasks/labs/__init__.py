"""Stand-ins for the lab: a finished screen replayed through files, the demo's data, and the truth to compare with."""
