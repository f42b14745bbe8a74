"""The commands of the command line, a module each: arguments, a call of the API, what to print."""
