"""What every room stands on: time, errors, names, spans of time, telemetry. No room is below it."""
