"""Connections, bytes and JSON: what knows nothing of OpenGradient."""
