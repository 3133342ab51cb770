"""Hours of random faults beside live Celery traffic, and the book of every task: `python -m tests.soak`."""
