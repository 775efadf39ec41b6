"""What can go wrong in the client. Every message may be shown to the user: none holds a key, a query string or
spoken words."""


class ClientError(Exception):
    """Base of all errors raised on purpose."""


class ConnectError(ClientError):
    """The server could not be reached, did not answer in time, or was lost for good."""


class RefusedError(ClientError):
    """The server does not let this client in; trying again would not help."""


class NoAnswer(ClientError):
    """The agent did not answer in time, or failed to."""


class AudioError(ClientError):
    """A sound device or a WAV file cannot be used; the message says why and what to do."""
