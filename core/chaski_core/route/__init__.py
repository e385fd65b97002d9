"""The ChaskiRoute: its model, its schema and rules, its queues and its table."""
