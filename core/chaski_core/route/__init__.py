"""The ChaskiRoute: its model, its schema and rules, and what was made for it."""
