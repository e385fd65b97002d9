"""The console: a web page that shows routes live, finds dead letters, and shows the history of a message."""
