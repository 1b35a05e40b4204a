"""The HTTP server: OpenAI-shaped and Anthropic-shaped requests over a Runner. Needs the extra `server`."""
