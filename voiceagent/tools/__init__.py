"""What an agent can do besides talking: functions, MCP servers and webhooks that the model may call."""
