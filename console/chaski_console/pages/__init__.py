"""The pages of the console, as pure functions from values to HTML."""
