"""dj-stripe's migrations, squashed; the file names are upstream's, so that a database may change over to its own."""
