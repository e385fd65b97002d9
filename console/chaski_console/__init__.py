"""The console: a web page that shows routes live, finds dead letters, and tells what became of a message."""
