"""The game: rules and events, the web API, its server, and a crowd of players."""
