"""What each page shows. Pure: from values to HTML."""
