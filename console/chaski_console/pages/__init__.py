"""The pages of the console: view models, made by pure functions from values, and the templates that render them."""
