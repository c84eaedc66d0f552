"""Configuration, library and ledger of a campaign: what was planned, measured, decided and published."""
