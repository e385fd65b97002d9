"""The worker: receives messages, delivers them in order, retries by the ladder, stores dead letters."""
