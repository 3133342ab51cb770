"""The admin door: routes, who may do what, and where it listens. What answers is imported when it begins to answer."""
