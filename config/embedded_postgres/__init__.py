"""A database ENGINE that brings its own PostgreSQL: for first looks, development and tests."""
