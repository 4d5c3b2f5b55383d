"""Connections, bytes and JSON; nothing here knows about OpenGradient."""
