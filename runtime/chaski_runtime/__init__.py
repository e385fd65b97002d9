"""Parts that every service process shares: clock, logs, metrics, health, HTTP and Kubernetes clients. Imports only core."""
