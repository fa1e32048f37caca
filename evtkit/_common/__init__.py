"""What every room needs and what knows no statistics: checks, frames, files, tables, threads, text, types."""
