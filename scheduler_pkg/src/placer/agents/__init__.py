"""The agent: builds what the claims of its hosts promise, and takes it down again.

It talks to a scheduler of its cell over one connection and never to the database.
"""
