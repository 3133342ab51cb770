"""Moves a Celery installation from classic to quorum queues while producers and workers keep running."""

__version__ = "0.1.0"
