"""Decides and touches nothing: no sockets, clock, files, logging or gevent in here."""
