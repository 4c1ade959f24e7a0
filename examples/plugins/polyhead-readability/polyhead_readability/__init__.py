"""How easy or hard a text is to read, as a number: a task for polyhead."""
