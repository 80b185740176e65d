"""The application: settings, composition, transports and commands."""
