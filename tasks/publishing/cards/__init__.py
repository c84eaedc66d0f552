"""The cards of the report, one small module each. A card is data; the template draws it."""
