"""ChaskiPolicies: what the routes of selected namespaces may declare."""
