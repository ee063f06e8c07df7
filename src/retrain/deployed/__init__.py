"""What a deployed function is made of: its settings and adapters. Only handlers import this room."""
