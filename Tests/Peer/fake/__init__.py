"""A fake of Depot's Sandbox API for tests, made without a line of what it tests."""
