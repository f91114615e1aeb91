"""What every server of depot.sandbox.v1 has to do; client.py carries it out."""
