"""The command line: a module per noun, tables for people, JSON for programs."""
