"""The experiment: 200 messages of one subject to a target that fails in three ways, with exact expected figures."""
