"""`voiceagent eval`: plays conversations from scenario files against any Realtime server and measures its manners."""
