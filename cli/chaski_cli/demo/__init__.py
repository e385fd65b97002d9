"""The experiment that must come out exactly: 200 messages of one subject to a target that fails in three ways."""
