"""What every room builds on: errors, files, processes, the Ray connection, building blocks of pages and tables."""
