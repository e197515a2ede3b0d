"""Runs that answer questions: arms, how one is run, and what is reported."""
