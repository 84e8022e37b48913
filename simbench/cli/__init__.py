"""The command line. One module per kind of verb; nothing heavy is imported before a verb runs."""
