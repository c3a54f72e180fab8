"""Sends once and never waits: the only room that knows an HTTP client.

A sender never raises for the network: it returns a `Reply` or a `Silence`. No retry, no redirect
followed, no HTTP/2. A connection is closed hard (RST) after anything but a whole answer.
"""
