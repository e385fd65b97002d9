"""Takes messages from the queues, delivers them in order, climbs the ladder, keeps what failed."""
