"""What every service process needs around its job: clock, logs, metrics, health. Imports only core."""
