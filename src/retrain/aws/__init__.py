"""AWS, one adapter per service: the only importers of boto3. Errors leave here classified (see `calls`)."""
