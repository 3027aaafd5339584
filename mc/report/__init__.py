"""Report: figures and HTML pages from estimates."""
