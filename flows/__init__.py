"""What a person asks for: one file a verb, the command line, and the sweep file's schema."""
